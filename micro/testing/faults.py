"""Ports that call a function at named points, where a test raises, waits, counts or kills the process.

    bus = FaultyBus(bus, crash_at("after_send"))
    store = FaultyStore(store, fail_at("before_mark", StoreUnavailable("disk full"), times=3))

The points on an event's way, in order, each with what must happen after a crash there:

| Point | Of | What has happened | After a restart |
|---|---|---|---|
| ``before_commit`` | store | the state is written, not committed | neither state nor event exist |
| ``after_commit`` | store | state and event are committed | the event is sent |
| ``before_send`` | bus | the relay has read the row | the event is sent |
| ``before_append``, ``after_append`` | journal | the log isn't or is on disk, nobody knows yet | it is sent (again) |
| ``after_send`` | bus | the bus has it, the relay doesn't know | it is sent again |
| ``after_acknowledge`` | bus | the relay is about to know | it is sent again |
| ``before_mark`` | store | the row's deletion isn't committed | it is sent again |
| ``after_mark`` | store | the row is gone | nothing |
| ``after_fetch`` | bus | the consumer has the record | it is delivered again |
| ``after_handler`` | store | effects and inbox row are written, not committed | it is delivered and applied |
| ``after_inbox_commit`` | store | effects and inbox row are committed | it is delivered and found applied |
| ``before_position``, ``after_position`` | bus | the position isn't or is stored | it is delivered again, or not |

A transaction's points follow from the tables that its statements name; those of leases and housekeeping have none.
"""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from micro.bus.events import LoggedBus
    from micro.bus.message import Message, Partition, Record
    from micro.bus.ports import Bounds, BusFeatures, Journal, JournalState, Subscription
    from micro.store.ports import Dialect, Row, Store, StoreFeatures, Transaction, Value

At: TypeAlias = "Callable[[str], Awaitable[None] | None]"

_POINTS = (
    ("delete from micro_outbox", ("before_mark", "after_mark")),
    ("into micro_inbox", ("after_handler", "after_inbox_commit")),
    ("delete from micro_parked", ("after_handler", "after_inbox_commit")),
)
_OWN = ("before_commit", "after_commit")


def crash_at(point: str, *, visit: int = 1) -> At:
    """Kill this process with SIGKILL when `point` is reached for the `visit`-th time."""
    visits = 0

    def at(reached: str) -> None:
        nonlocal visits
        visits += reached == point
        if reached == point and visits == visit:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def fail_at(point: str, error: Exception, *, times: int = 1) -> At:
    """Raise `error` the first `times` times that `point` is reached."""
    left = times

    def at(reached: str) -> None:
        nonlocal left
        if reached == point and left:
            left -= 1
            raise error

    return at


class _Faulty:
    def __init__(self, at: At) -> None:
        self._at = at

    async def _reach(self, point: str) -> None:
        pending = self._at(point)
        if pending is not None:
            await pending


class FaultyStore(_Faulty):
    """A `micro.store.ports.Store` around another one, with the features of that."""

    features: ClassVar[StoreFeatures]
    dialect: ClassVar[Dialect]

    def __init__(self, inner: Store, at: At) -> None:
        super().__init__(at)
        self._inner = inner
        self.features = inner.features  # type: ignore[misc]  # of this instance: it depends on what is inside
        self.dialect = inner.dialect  # type: ignore[misc]  # likewise

    async def open(self) -> None:
        """Open the store inside."""
        await self._inner.open()

    async def close(self) -> None:
        """Close the store inside."""
        await self._inner.close()

    @asynccontextmanager
    async def transaction(
        self, *, timeout: float = 30.0, exclusive: bool = False
    ) -> AsyncIterator[_WatchedTransaction]:
        """See `micro.store.ports.Store.transaction`. An error raised before the commit rolls back."""
        async with self._inner.transaction(timeout=timeout, exclusive=exclusive) as tx:
            watched = _WatchedTransaction(tx)
            yield watched
            if watched.points is not None:
                await self._reach(watched.points[0])
        if watched.points is not None:
            await self._reach(watched.points[1])

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """See `micro.store.ports.Store.query`."""
        return await self._inner.query(sql, *parameters)

    async def signal(self, name: str) -> None:
        """See `micro.store.ports.Signals.signal`; where the store inside has none, nobody hears it."""
        if self._inner.features.shared_by_processes:
            await self._inner.signal(name)  # type: ignore[attr-defined] # the feature says so

    def on_signal(self, name: str, heard: Callable[[], None]) -> None:
        """See `micro.store.ports.Signals.on_signal`."""
        if self._inner.features.shared_by_processes:
            self._inner.on_signal(name, heard)  # type: ignore[attr-defined] # as above


class _WatchedTransaction:
    """Passes statements on and notes which points they lead to."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.points: tuple[str, str] | None = _OWN

    async def execute(self, sql: str, *parameters: Value) -> int:
        self._note(sql)
        return await self._inner.execute(sql, *parameters)

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        self._note(sql)
        return await self._inner.query(sql, *parameters)

    def at_commit(self, sql: str, *parameters: Value, ordered_by: str | None = None) -> None:
        self._inner.at_commit(sql, *parameters, ordered_by=ordered_by)

    async def script(self, sql: str) -> None:
        self._note(sql)
        await self._inner.script(sql)

    def _note(self, sql: str) -> None:
        if self.points in {_OWN, None}:
            known = [points for statement, points in _POINTS if statement in sql]
            if known or "micro_" in sql:
                self.points = known[0] if known else None


class FaultyBus(_Faulty):
    """A `Bus` and `Log` around another one, with the features of that."""

    features: ClassVar[BusFeatures]

    def __init__(self, inner: LoggedBus, at: At) -> None:
        super().__init__(at)
        self._inner = inner
        self.features = inner.features  # type: ignore[misc]  # of this instance: it depends on what is inside

    async def open(self) -> None:
        """Open the bus inside."""
        await self._inner.open()

    async def close(self) -> None:
        """Close the bus inside."""
        await self._inner.close()

    async def publish(self, messages: Sequence[Message]) -> list[Record]:
        """See `Bus.publish`."""
        await self._reach("before_send")
        records = await self._inner.publish(messages)
        await self._reach("after_send")
        await self._reach("after_acknowledge")
        return records

    async def subscribe(self, group: str, topics: Collection[str]) -> FaultySubscription:
        """See `Bus.subscribe`."""
        return FaultySubscription(await self._inner.subscribe(group, topics), self._at)

    async def topics(self) -> dict[str, int]:
        """See `Log.topics`."""
        return await self._inner.topics()

    async def bounds(self, partition: Partition, *, since: float | None = None) -> Bounds:
        """See `Log.bounds`."""
        return await self._inner.bounds(partition, since=since)

    async def read(self, partition: Partition, offset: int, *, limit: int, wait: float = 0.0) -> list[Record]:
        """See `Log.read`."""
        return await self._inner.read(partition, offset, limit=limit, wait=wait)

    async def positions(self) -> dict[str, dict[Partition, int]]:
        """See `Log.positions`."""
        return await self._inner.positions()


class FaultySubscription(_Faulty):
    """A `Subscription` around another one."""

    def __init__(self, inner: Subscription, at: At) -> None:
        super().__init__(at)
        self._inner = inner

    async def fetch(self, *, limit: int, wait: float, exclude: Collection[Partition] = ()) -> list[Record]:
        """See `Subscription.fetch`."""
        records = await self._inner.fetch(limit=limit, wait=wait, exclude=exclude)
        if records:
            await self._reach("after_fetch")
        return records

    async def commit(self, positions: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """See `Subscription.commit`."""
        await self._reach("before_position")
        stored = await self._inner.commit(positions)
        await self._reach("after_position")
        return stored

    def assigned(self) -> frozenset[Partition]:
        """See `Subscription.assigned`."""
        return self._inner.assigned()

    async def close(self) -> None:
        """See `Subscription.close`."""
        await self._inner.close()


class FaultyJournal(_Faulty):
    """A `Journal` around another one."""

    def __init__(self, inner: Journal, at: At) -> None:
        super().__init__(at)
        self._inner = inner

    async def append(self, records: Sequence[Record]) -> None:
        """See `Journal.append`."""
        await self._reach("before_append")
        await self._inner.append(records)
        await self._reach("after_append")

    async def read(
        self, partition: Partition, offset: int, limit: int, *, since: float = 0.0
    ) -> list[Record]:
        """See `Journal.read`."""
        return await self._inner.read(partition, offset, limit, since=since)

    async def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """See `Journal.commit`."""
        await self._inner.commit(group, positions)

    async def load(self, *, keep_since: float) -> JournalState:
        """See `Journal.load`."""
        return await self._inner.load(keep_since=keep_since)
