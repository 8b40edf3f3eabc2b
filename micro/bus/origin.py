"""What an event inherits from its cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from micro.bus.message import CloudEvent
from micro.clock import rfc3339
from micro.context import current
from micro.ids import child_traceparent, new_id

if TYPE_CHECKING:
    from micro.bus.message import Event
    from micro.clock import Clock

MAX_KEY = 255
"""Characters. Keys are columns of indexes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Makes events of one source. Correlation, cause and trace come from `micro.context.current`.

    Where nothing caused it, an event is its own correlation and its own cause: the root of its tree.
    """

    source: str
    clock: Clock

    def of(self, event: Event, key: str) -> CloudEvent:
        """A typed event as it travels. Raises `ValueError` as `event` does."""
        kind = type(event)
        return CloudEvent(
            topic=kind.topic,
            type=kind.__name__,
            version=kind.version,
            data=msgspec.to_builtins(event),
            **self._envelope(kind.__name__, key),
        )

    def event(self, topic: str, type: str, data: dict[str, Any], *, key: str) -> CloudEvent:
        """A new event, of version 1. Raises `ValueError` for a key that no database could hold."""
        return CloudEvent(topic=topic, type=type, version=1, data=data, **self._envelope(type, key))

    def _envelope(self, type: str, key: str) -> dict[str, Any]:
        if not 0 < len(key) <= MAX_KEY or "\0" in key:
            raise ValueError(f"{type}: a key is 1 to {MAX_KEY} characters without NUL, not {key[:50]!r}")
        id, cause = new_id(self.clock), current.get()
        return {
            "id": id,
            "source": self.source,
            "key": key,
            "time": rfc3339(self.clock.now()),
            "traceparent": child_traceparent(cause.traceparent if cause else None, self.clock),
            "correlation_id": cause.correlation_id if cause else id,
            "causation_id": cause.causation_id if cause else id,
        }
