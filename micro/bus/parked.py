"""One parked event, as its row has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from micro.bus.delivery import Failure, Place
from micro.bus.message import Message, Partition, Record
from micro.bus.outbox import unpack_headers

if TYPE_CHECKING:
    from typing import Any

    from micro.store.ports import Row

SELECT = (
    "select seq, event_id, topic, origin_partition, origin_offset, key, type, value, headers, attempts, "
    "next_attempt_at, error_type, error_message, error_stack, parked_at, failed_at from micro_parked where "
)
"""The columns that `Parked.of` reads."""


class Parked(Struct, frozen=True):
    """One row. Its key's head has a next attempt or is dead; the others have never been tried."""

    seq: int
    id: str
    record: Record
    place: Place
    type: str | None
    """`None` for bytes that are no event."""
    attempts: int
    next_attempt_at: float | None
    failure: Failure | None
    parked_at: float
    failed_at: float | None

    @property
    def dead(self) -> bool:
        """Whether it is a dead letter: tried, and not to be tried again by itself."""
        return self.next_attempt_at is None and self.attempts > 0

    @classmethod
    def of(cls, row: Row) -> Parked:
        """From a row of `SELECT`."""
        values: Any = list(row)
        seq, id, topic, number, offset, key, type, value, headers, attempts, due, *error = values
        *failure, parked_at, failed_at = error
        message = Message(topic, key, value, unpack_headers(headers))
        return cls(
            seq=seq,
            id=id,
            record=Record(Partition(topic, number), offset, message, parked_at),
            place=Place(topic, key),
            type=type,
            attempts=attempts,
            next_attempt_at=due,
            failure=Failure(*failure) if failure[0] is not None else None,
            parked_at=parked_at,
            failed_at=failed_at,
        )
