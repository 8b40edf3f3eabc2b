"""The inbox: which events a subscriber has taken over, kept in the transaction of their effects.

Pattern: https://microservices.io/patterns/communication-style/idempotent-consumer.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.bus.sql import expand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from micro.clock import Clock
    from micro.store.ports import Store, Transaction, Value

_DAY = 86_400.0
RETENTION = 8 * _DAY
"""Seconds after its effects that an event is remembered at least."""

_PURGE = 500
_CLAIM = (
    "insert into micro_inbox (subscriber, event_id, handled_at) values (?, ?, ?)… "
    "on conflict do nothing returning event_id"
)
_FORGET = "delete from micro_inbox where handled_at is not null and subscriber = ? and event_id in (?…)"


class Inbox:
    """The rows of one subscriber.

    A row says that this database is responsible for an event. `handled_at` is when it was applied, null while it is
    parked. The primary key is what keeps two deliveries of one event apart, whoever gets them.
    """

    def __init__(self, subscriber: str, *, clock: Clock) -> None:
        self._subscriber = subscriber
        self._clock = clock

    async def claim(self, tx: Transaction, ids: Sequence[str]) -> set[str]:
        """Take over events as applied; those of `ids` that nobody had."""
        parameters: list[Value] = []
        for id in ids:
            parameters += (self._subscriber, id, self._now())
        taken = await tx.query(
            expand(_CLAIM, len(ids)),
            *parameters,
        )
        return {str(row[0]) for row in taken}

    async def hold(self, tx: Transaction, id: str) -> None:
        """Note that an event is parked: taken over, not applied."""
        await tx.execute(
            "update micro_inbox set handled_at = null where subscriber = ? and event_id = ?",
            self._subscriber,
            id,
        )

    async def settle(self, tx: Transaction, id: str) -> None:
        """Note that a parked event is done with."""
        await tx.execute(
            "update micro_inbox set handled_at = ? where subscriber = ? and event_id = ?",
            self._now(),
            self._subscriber,
            id,
        )

    async def forget(self, tx: Transaction, ids: Sequence[str]) -> None:
        """Let events be applied again, but for those that are parked: they are still to come."""
        await tx.execute(
            expand(_FORGET, len(ids)),
            self._subscriber,
            *ids,
        )

    async def purge(self, store: Store, oldest: Callable[[], Awaitable[float]]) -> None:
        """Drop what is older than `RETENTION` and no longer in the log, a little at a time so that others can write too.

        `oldest` is asked, only where there is something to drop, for the time of the first record that the log has (epoch
        seconds). An event that is still there may come again: a group's positions expire, too. A day is left for clocks
        that differ. Raises what `oldest` does.
        """
        before = self._now() - RETENTION
        if not await store.query("select 1 from micro_inbox where handled_at < ? limit 1", before):
            return
        before = min(before, await oldest() - _DAY)
        while True:
            async with store.transaction() as tx:
                dropped = await tx.execute(
                    "delete from micro_inbox where (subscriber, event_id) in "
                    "(select subscriber, event_id from micro_inbox where handled_at < ? limit ?)",
                    before,
                    _PURGE,
                )
            if dropped < _PURGE:
                return

    def _now(self) -> float:
        return self._clock.now().timestamp()
