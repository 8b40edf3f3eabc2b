"""Dead letters as they are chosen and shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from micro.clock import rfc3339
from micro.errors import UsageError

if TYPE_CHECKING:
    from micro.bus.parked import Parked


class Letters(Struct, frozen=True, kw_only=True):
    """Which dead letters: those that match all that is given. To mean all of them, say `every`."""

    ids: tuple[str, ...] = ()
    topic: str | None = None
    type: str | None = None
    error: str | None = None
    """The exception's class name."""
    every: bool = False

    def check(self) -> None:
        """Raise `UsageError` where nothing is said: nobody means to purge everything by leaving a word out."""
        if self == Letters():
            raise UsageError("which dead letters? Name ids, a topic, a type, an exception type, or say all")

    def condition(self) -> tuple[str, list[str]]:
        """SQL over `micro_parked` and its parameters."""
        chosen = {"topic": self.topic, "type": self.type, "error_type": self.error}
        given = {column: value for column, value in chosen.items() if value is not None}
        parts = [f"{column} = ?" for column in given]
        if self.ids:
            parts.append(f"event_id in ({', '.join('?' * len(self.ids))})")
        return " and ".join(parts or ["1 = 1"]), [*given.values(), *self.ids]


class Outcome(NamedTuple):
    """What became of one letter: ``applied``, ``failed`` (it stays, `detail` says why), ``dropped`` or ``gone``."""

    id: str
    type: str | None
    outcome: str
    detail: str = ""


def summary(parked: Parked) -> dict[str, Any]:
    """A parked event as one line of a list. `state` is ``dead``, ``retrying``, or ``waiting`` behind another."""
    state = "dead" if parked.dead else "waiting" if parked.next_attempt_at is None else "retrying"
    return {
        "id": parked.id,
        "seq": parked.seq,
        "state": state,
        "type": parked.type,
        "topic": parked.record.partition.topic,
        "partition": parked.record.partition.number,
        "offset": parked.record.offset,
        "key": parked.place.key,
        "attempts": parked.attempts,
        "next_attempt_at": _time(parked.next_attempt_at),
        "parked_at": _time(parked.parked_at),
        "failed_at": _time(parked.failed_at),
        "error": {"type": parked.failure.type, "message": parked.failure.message} if parked.failure else None,
    }


def _time(moment: float | None) -> str | None:
    return None if moment is None else rfc3339(datetime.fromtimestamp(moment, UTC))
