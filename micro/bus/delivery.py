"""A record on its way to a handler, and what went wrong with it."""

from __future__ import annotations

import os
import traceback
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from micro.bus.codec import decode
from micro.bus.message import Message
from micro.bus.origin import MAX_KEY
from micro.errors import DecodeError

if TYPE_CHECKING:
    from micro.bus.message import CloudEvent, Record

_MESSAGE = 1024
_STACK = 8192
_CALLERS = f"{Path(__file__).parent}{os.sep}"
"""Where the code is that calls handlers."""


class Place(NamedTuple):
    """Events of one place are handled in order, and wait behind one of them that failed."""

    topic: str
    key: str


class Delivery:
    """A record, and the event in it or the reason why there is none. Not to be changed."""

    __slots__ = ("content", "event", "id", "place", "record")

    def __init__(self, record: Record, content: CloudEvent | DecodeError) -> None:
        self.record = record
        self.content = content
        self.event = None if isinstance(content, DecodeError) else content
        """The event, where the record holds one."""
        topic, number = record.partition
        self.id = self.event.id if self.event is not None else f"{topic}:{number}:{record.offset}"
        """The event's id; for bytes that are no event, their place in the log."""
        key = record.message.key or (self.event.key if self.event is not None else "") or self.id
        self.place = Place(topic, storable(key[:MAX_KEY]))
        """By the record's key, else the event's. Without any there is no order to keep: each stands alone.

        Cut and cleaned so that it can be a database key; keys that become the same merely wait for each other.
        """

    @classmethod
    def of(cls, record: Record) -> Delivery:
        """Decode a record."""
        try:
            return cls(record, decode(record))
        except DecodeError as error:
            return cls(record, error)

    @property
    def type(self) -> str | None:
        """The event's type, where the record holds one."""
        return self.event.type if self.event is not None else None


class Failure(NamedTuple):
    """An exception as it is stored: bounded, and text that any database takes."""

    type: str
    message: str
    stack: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Class name, at most 1 KiB of its message, and the innermost 8 KiB of the traceback below what called it here."""
        stack = _stack(error).encode("utf-8", "replace")
        return cls(
            type(error).__qualname__,
            storable(str(error)[:_MESSAGE]),
            storable(stack[-_STACK:].decode("utf-8", "ignore")),
        )


def _stack(error: BaseException) -> str:
    """The traceback, with those of its causes, each from the handler on: the frames that led there are the same always."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part is not None:
        own = list(dropwhile(lambda frame: frame.filename.startswith(_CALLERS), part.stack))
        part.stack[:] = own or part.stack
        part = part.__cause__ or part.__context__
    return "".join(whole.format())


def dead_letter(delivery: Delivery, failure: Failure, *, subscriber: str, attempts: int) -> Message:
    """A copy of an event for ``<topic>.dlq``: as it came, with the reason and its origin added as headers.

    Of its key, what no database takes is replaced: the copy leaves by the outbox.
    """
    topic, number = delivery.record.partition
    message = delivery.record.message
    reason = {
        "dlq_subscriber": subscriber,
        "dlq_exception_type": failure.type,
        "dlq_exception_message": failure.message,
        "dlq_exception_stack": failure.stack,
        "dlq_attempts": str(attempts),
        "dlq_topic": topic,
        "dlq_partition": str(number),
        "dlq_offset": str(delivery.record.offset),
    }
    headers = tuple((name, value.encode()) for name, value in reason.items())
    return Message(f"{topic}.dlq", storable(message.key), message.value, message.headers + headers)


def storable(text: str) -> str:
    """`text` without NUL and lone surrogates, which PostgreSQL's text can't hold."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
