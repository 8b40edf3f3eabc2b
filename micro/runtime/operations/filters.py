"""Which events a verb is asked for, and from when on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from micro.bus.codec import decode
from micro.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.bus.message import CloudEvent, Record
    from micro.clock import Clock

T = TypeVar("T")
R = TypeVar("R")

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)\Z")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DATE_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


def parse_span(text: str) -> float:
    """`90s`, `15m`, `1.5h`, `7d` in seconds. Raises `UsageError`."""
    match = _SPAN.match(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no span of time; write 90s, 15m, 1h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def parse_moment(text: str, clock: Clock) -> float:
    """A span back from now, an RFC 3339 time or a date (UTC), as seconds since the epoch. Raises `UsageError`."""
    text = text.strip()
    if _SPAN.match(text):
        return clock.now().timestamp() - parse_span(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is no time; write 1h, 2026-01-31 or 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        if not _DATE_ONLY.match(text):
            raise UsageError(f"'{text}' has no time zone; end it with Z for UTC")
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


class EventQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events; a field that is `None` takes any."""

    topic: str | None = None
    type: str | None = None
    key: str | None = None
    correlation: str | None = None
    since: str | None = None
    """See `parse_moment`."""
    limit: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """At most so many; 0 is all. `None` is what the verb does by itself: a list 50, a tail all."""
    follow: bool = True
    """Go on with what comes, where the verb can."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read; none is all."""
        return (self.topic,) if self.topic else ()

    def takes(self, event: CloudEvent | None) -> bool:
        """Whether the event matches. What can't be decoded (`None`) matches where nothing but the topic is asked."""
        if event is None:
            return self.type is None and self.key is None and self.correlation is None
        return (
            self.type in {None, event.type}
            and self.key in {None, event.key}
            and self.correlation in {None, event.correlation_id}
        )


def taking(kind: type[T], verb: Callable[[T], R]) -> Callable[..., R]:
    """`verb`, called with the fields of `kind` by name. Wrong ones raise `UsageError`."""

    def call(**arguments: Any) -> R:
        try:
            asked = msgspec.convert(arguments, kind)
        except msgspec.ValidationError as error:
            raise UsageError(str(error)) from error
        return verb(asked)

    return call


def event_in(record: Record) -> CloudEvent | None:
    """The event, or nothing where the bytes are none."""
    try:
        return decode(record)
    except DecodeError:
        return None
