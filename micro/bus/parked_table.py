"""The table of parked events: retries, the events that wait behind them, and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.bus.delivery import Delivery, Failure, Place
from micro.bus.outbox import pack_headers
from micro.bus.parked import SELECT, Parked
from micro.bus.sql import expand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from micro.clock import Clock
    from micro.store.ports import Store, Transaction, Value

_BLOCKED = "select topic, key from micro_blocked where subscriber = ? and key in (?…)"
_BLOCK = (
    "insert into micro_blocked (subscriber, topic, key, events) values (?, ?, ?, 1) "
    "on conflict (subscriber, topic, key) do update set events = micro_blocked.events + 1 returning events"
)
_UNBLOCK = "delete from micro_blocked where subscriber = ? and topic = ? and key = ?"
_HOLD = "update micro_blocked set events = events where subscriber = ? and topic = ? and key = ?"
_ADD_ONE = "update micro_blocked set events = events + 1 where subscriber = ? and topic = ? and key = ?"
_TAKE_ONE = "update micro_blocked set events = events - 1 where subscriber = ? and topic = ? and key = ? returning events"
_TAKE_MANY = "update micro_blocked set events = events - ? where subscriber = ? and topic = ? and key = ?"

_INSERT = (
    "insert into micro_parked (subscriber, event_id, topic, origin_partition, origin_offset, key, type, value, headers,"
    " attempts, next_attempt_at, error_type, error_message, error_stack, parked_at, failed_at)"
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_PROMOTE = (
    "update micro_parked set next_attempt_at = ? where seq = (select min(seq) from micro_parked "
    "where subscriber = ? and topic = ? and key = ? and type is not null)"
)
_RESCHEDULE = (
    "update micro_parked set attempts = attempts + 1, next_attempt_at = ?, error_type = ?, error_message = ?, "
    "error_stack = ?, failed_at = ? where seq = ? and attempts = ?"
)
_DELETE_BEHIND = (
    "delete from micro_parked where subscriber = ? and topic = ? and key = ? and type is not null and seq > ?"
)
_SETTLE_BEHIND = (
    "update micro_inbox set handled_at = ? where subscriber = ? and event_id in (select event_id from micro_parked "
    "where subscriber = ? and topic = ? and key = ? and type is not null and seq > ?)"
)
_COUNT_BEHIND = (
    "select count(*) from micro_parked "
    "where subscriber = ? and topic = ? and key = ? and type is not null and seq > ?"
)
_COUNT = (
    "select count(*), coalesce(sum(case when next_attempt_at is null and attempts > 0 then 1 else 0 end), 0) "
    "from micro_parked where subscriber = ?"
)
_FUTURE = 60.0
"""Seconds by which the clocks of two processes may differ."""
_NEXT_DUE = "select min(next_attempt_at) from micro_parked where subscriber = ?"


class ParkedTable:
    """The rows of one subscriber.

    A key is blocked while it has rows. Who adds one or takes one away first changes the key's row in `micro_blocked`,
    and so waits for whoever does the same in another transaction.
    """

    def __init__(self, subscriber: str, *, store: Store, clock: Clock, longest: float) -> None:
        """`longest` is the longest wait between two attempts, in seconds."""
        self._subscriber = subscriber
        self._store = store
        self._clock = clock
        self._longest = longest

    async def blocked(self, tx: Transaction, places: Iterable[Place]) -> set[Place]:
        """Which of `places` have events parked."""
        keys = sorted({place.key for place in places})
        found = await tx.query(
            expand(_BLOCKED, len(keys)),
            self._subscriber,
            *keys,
        )
        return {Place(str(row[0]), str(row[1])) for row in found}

    async def queue(self, tx: Transaction, delivery: Delivery) -> bool:
        """Let an event wait behind those of its key. False when there are none any more."""
        waiting = await tx.execute(
            _ADD_ONE,
            self._subscriber,
            *delivery.place,
        )
        if waiting:
            await self._insert(tx, delivery, failure=None, attempts=0, next_attempt_at=None)
        return waiting > 0

    async def park(
        self,
        tx: Transaction,
        delivery: Delivery,
        *,
        failure: Failure,
        attempts: int,
        next_attempt_at: float | None,
    ) -> None:
        """Block the key of an event that failed. Where it is blocked already, the event waits its turn untried."""
        counted = await tx.query(
            _BLOCK,
            self._subscriber,
            *delivery.place,
        )
        if counted[0][0] == 1:
            await self._insert(
                tx, delivery, failure=failure, attempts=attempts, next_attempt_at=next_attempt_at
            )
        else:
            await self._insert(tx, delivery, failure=None, attempts=0, next_attempt_at=None)

    async def bury(self, tx: Transaction, delivery: Delivery, failure: Failure) -> None:
        """Keep bytes that are no event as a dead letter. Nothing waits behind them."""
        await self._insert(tx, delivery, failure=failure, attempts=1, next_attempt_at=None)

    async def release(self, tx: Transaction, parked: Parked) -> bool:
        """Take a row out and let the next of its key be tried. False when someone else was faster."""
        taken = await tx.execute("delete from micro_parked where seq = ?", parked.seq)
        if taken and parked.type is not None:
            left = await tx.query(
                _TAKE_ONE,
                self._subscriber,
                *parked.place,
            )
            await (self._promote if left[0][0] else self._unblock)(tx, parked.place)
        return taken > 0

    async def drop_behind(self, tx: Transaction, parked: Parked) -> int:
        """Take out everything that waits behind a row, as done with; how many events."""
        if parked.type is None:
            return 0
        key = (self._subscriber, *parked.place)
        await tx.execute(_HOLD, *key)  # holds off who would add one
        await tx.execute(
            _SETTLE_BEHIND,
            self._clock.now().timestamp(),
            self._subscriber,
            *key,
            parked.seq,
        )
        dropped = await tx.execute(_DELETE_BEHIND, *key, parked.seq)
        await tx.execute(_TAKE_MANY, dropped, *key)
        return dropped

    async def behind(self, parked: Parked) -> int:
        """How many events wait behind a row."""
        if parked.type is None:
            return 0
        [row] = await self._store.query(_COUNT_BEHIND, self._subscriber, *parked.place, parked.seq)
        return int(str(row[0]))

    async def reschedule(
        self, tx: Transaction, parked: Parked, failure: Failure, next_attempt_at: float | None
    ) -> bool:
        """Note one more failed attempt. False when the row has changed meanwhile."""
        changed = await tx.execute(
            _RESCHEDULE,
            next_attempt_at,
            *failure,
            self._clock.now().timestamp(),
            parked.seq,
            parked.attempts,
        )
        return changed > 0

    async def due(self, limit: int) -> list[Parked]:
        """Heads of keys whose next attempt is due, the longest due first.

        Due is, too, what is to wait for longer than anything: the clock was ahead when that was written.
        """
        now = self._clock.now().timestamp()
        return await self.select(
            "(next_attempt_at <= ? or next_attempt_at > ?) order by next_attempt_at",
            now,
            now + self._longest + _FUTURE,
            limit=limit,
        )

    async def next_due(self) -> float | None:
        """When the next attempt is due (epoch seconds)."""
        [row] = await self._store.query(_NEXT_DUE, self._subscriber)
        return None if row[0] is None else float(row[0])

    async def counts(self) -> tuple[int, int]:
        """How many events are to be tried or wait, and how many are dead."""
        [row] = await self._store.query(_COUNT, self._subscriber)
        everything, dead = int(str(row[0])), int(str(row[1]))
        return everything - dead, dead

    async def select(self, where: str, *parameters: Value, limit: int) -> list[Parked]:
        """Rows by a condition of ours, with its order."""
        rows = await self._store.query(
            f"{SELECT}subscriber = ? and {where} limit ?", self._subscriber, *parameters, limit
        )
        return [Parked.of(row) for row in rows]

    async def _promote(self, tx: Transaction, place: Place) -> None:
        await tx.execute(
            _PROMOTE,
            self._clock.now().timestamp(),
            self._subscriber,
            *place,
        )

    async def _unblock(self, tx: Transaction, place: Place) -> None:
        await tx.execute(_UNBLOCK, self._subscriber, *place)

    async def _insert(
        self,
        tx: Transaction,
        delivery: Delivery,
        *,
        failure: Failure | None,
        attempts: int,
        next_attempt_at: float | None,
    ) -> None:
        now, record = self._clock.now().timestamp(), delivery.record
        await tx.execute(
            _INSERT,
            self._subscriber,
            delivery.id,
            record.partition.topic,
            record.partition.number,
            record.offset,
            delivery.place.key,
            delivery.type,
            record.message.value,
            pack_headers(record.message.headers),
            attempts,
            next_attempt_at,
            *(failure or (None, None, None)),
            now,
            now if failure else None,
        )
