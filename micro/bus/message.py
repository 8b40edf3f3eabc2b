"""Events as authors write them, events as handlers get them, and the bytes between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, dataclass_transform


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event:
    """Base of the typed facts that a service publishes.

        class OrderPlaced(Event, topic="order.events", version=1):
            order_id: str
            total: int

    A subclass becomes a frozen, keyword-only dataclass. Its name is the event's type on the wire.
    """

    topic: ClassVar[str]
    version: ClassVar[int]

    def __init_subclass__(cls, *, topic: str | None = None, version: int = 1, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if topic is not None:
            cls.topic = topic
        if getattr(cls, "topic", None) is None:
            raise TypeError(f'{cls.__name__}: write class {cls.__name__}(Event, topic="…")')
        cls.version = version
        dataclass(frozen=True, kw_only=True)(cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event on its way, in the attributes of CloudEvents 1.0 (https://github.com/cloudevents/spec).

    What a handler is given. `data` is the decoded JSON object; everything else is the envelope.
    """

    id: str
    source: str
    type: str
    topic: str
    key: str
    time: str
    version: int
    data: dict[str, Any]
    traceparent: str
    correlation_id: str
    causation_id: str


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes for one topic. Messages with the same key keep their order."""

    topic: str
    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of value, key and headers."""
        beside = sum(len(name.encode()) + len(value) for name, value in self.headers)
        return len(self.value) + len(self.key.encode()) + beside


class Partition(NamedTuple):
    """One ordered slice of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A message that the bus has acknowledged, with its place in the log."""

    partition: Partition
    offset: int
    message: Message = field(repr=False)
    timestamp: float
    """Seconds since the epoch at which the bus took the message."""
