"""The relay: carries rows of the outbox to the bus, and deletes them once the bus has them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from micro.bus.backoff import Backoff
from micro.bus.lease import Lease
from micro.bus.message import Message
from micro.bus.notice import Notice
from micro.bus.outbox import BUCKETS, unpack_headers
from micro.bus.sql import expand
from micro.errors import BusUnavailable, PublishFailed, StoreUnavailable, TransactionTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.bus.outbox import Outbox
    from micro.bus.ports import Bus
    from micro.clock import Clock
    from micro.store.ports import Signals, Store, Value

_BATCH = 500
_BYTES = 16 * 1_048_576
"""Of a batch, in memory: what is more waits for the next."""
_POLL = 1.0
"""Seconds between looks at the table: polling is the truth, the outbox's event a hint."""
_RATE_SPAN = 10.0
_GOODBYE = 2.0
"""Seconds that the database gets to note that this relay leaves."""

_READ = """
select seq, bucket, topic, key, value, headers from (
    select *, sum(length(value)) over (order by seq) - length(value) as before
    from (select seq, bucket, topic, key, value, headers from micro_outbox order by seq limit ?) as first
) as counted where before < ? order by seq
"""
_READ_SOME = _READ.replace("micro_outbox", "micro_outbox where bucket in (?…)")
_DELETE = (
    "delete from micro_outbox where seq in (?…) "
    "and bucket in (select bucket from micro_lease where owner = ? and token = ?)"
)
_WAITING = "select 1 from micro_outbox where seq <= ? and bucket in (?…) order by seq limit 1"
_SIGNAL = "outbox"
_ALL = frozenset(range(BUCKETS))


class _Row(Struct, frozen=True):
    seq: int
    bucket: int
    message: Message


class Relay:
    """Sends the events of one service's database, per key in the order of their commits, at least once.

    There is no cursor: every look takes the first rows there are, so a transaction that commits late is not passed
    over. A bucket of which something was not acknowledged rests for a while and then begins at the same row again;
    the other buckets go on.
    """

    def __init__(self, store: Store, bus: Bus, *, outbox: Outbox, clock: Clock, owner: str) -> None:
        self._store = store
        self._bus = bus
        self._outbox = outbox
        self._clock = clock
        self._log = logging.getLogger(f"micro.service.{outbox.source}")
        self._lease = Lease(store, clock=clock, owner=owner)
        self._backoff = Backoff(clock)
        self._resting: dict[int, float] = {}
        self._sent: deque[tuple[float, int]] = deque(maxlen=1000)
        self._looked = asyncio.Event()
        self._leaving = False
        self._signals: Signals | None = cast("Signals", store) if store.features.shared_by_processes else None
        if self._signals is not None:
            self._signals.on_signal(_SIGNAL, outbox.look)
        self._waiting = Notice(
            "events wait in the outbox", over="events leave the outbox again", log=self._log, clock=clock
        )

    @property
    def error(self) -> str | None:
        """Why events that could be sent wait."""
        return self._waiting.reason

    async def run(self) -> None:
        """Carry on for ever. Raises what it can't mend by waiting; may be run again."""
        self._leaving = False
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._remind())
            while True:
                await self._outbox.committed.wait()
                self._outbox.committed.clear()
                await self._tell_others()
                await self._send_all()
                self._looked.set()

    async def drained(self) -> None:
        """Return once what is in the outbox now has left, but for what is another relay's. `run` has to be running."""
        [newest] = await self._store.query("select max(seq) from micro_outbox")
        if newest[0] is None:
            return
        self._looked.clear()
        self._outbox.look()
        while True:
            await self._looked.wait()
            self._looked.clear()
            if self.error is None and not await self._ours(newest[0]):
                return

    async def release(self) -> None:
        """Send no more until the next `run`, and let another relay go on at once. Where the database has no time for that,

        the claim runs out by itself.
        """
        self._leaving = True
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._lease.release()
        except (StoreUnavailable, TransactionTimeout, TimeoutError) as error:
            self._log.warning("another relay goes on a little later: %s", str(error) or "no answer in time")

    @property
    def rate(self) -> float:
        """Events per second, over the last ten seconds."""
        since = self._clock.monotonic() - _RATE_SPAN
        return sum(count for moment, count in self._sent if moment >= since) / _RATE_SPAN

    async def _tell_others(self) -> None:
        """Events of this process may be in buckets of another relay, which would find them at its next look only."""
        ours, self._outbox.ours = self._outbox.ours, False
        if ours and self._signals is not None and not self._lease.whole:
            await self._signals.signal(_SIGNAL)

    async def _remind(self) -> None:
        while True:
            self._outbox.look()
            await self._clock.sleep(_POLL)

    async def _send_all(self) -> None:
        """Send until there is nothing that may be sent now."""
        try:
            while not self._leaving and (rows := await self._next()):
                await self._send(rows)
            if not self._resting:
                self._waiting.ends()
        except (BusUnavailable, StoreUnavailable, TransactionTimeout) as error:
            self._waiting.lasts(str(error))
            await self._backoff.pause()

    async def _next(self) -> list[_Row]:
        """The first rows of the buckets that are ours and don't rest."""
        rows = await self._read()
        if not self._lease.fresh and (rows or await self._others_wait()) and await self._lease.claim():
            rows = await self._read()  # what another relay had sent by then is gone
        if self._leaving:  # released while it was being claimed
            await self._lease.release()
        return [row for row in rows if row.bucket in self._lease.held]

    async def _ours(self, newest: Value) -> bool:
        """Whether there are still rows up to `newest` that this relay is to send."""
        held = sorted(self._lease.held)
        return bool(held and await self._store.query(expand(_WAITING, len(held)), newest, *held))

    async def _others_wait(self) -> bool:
        """Whether there are events of buckets that this relay doesn't hold: their own may be gone."""
        if self._signals is None or not self._lease.held or self._lease.whole:
            return False
        return bool(await self._store.query("select 1 from micro_outbox order by seq limit 1"))

    async def _read(self) -> list[_Row]:
        now = self._clock.monotonic()
        self._resting = {bucket: until for bucket, until in self._resting.items() if until > now}
        buckets = (self._lease.held or _ALL) - self._resting.keys()
        if buckets == _ALL:
            found = await self._store.query(_READ, _BATCH, _BYTES)
        elif buckets:
            found = await self._store.query(
                expand(_READ_SOME, len(buckets)), *sorted(buckets), _BATCH, _BYTES
            )
        else:
            found = []
        values: list[Any] = [list(row) for row in found]
        return [
            _Row(seq, bucket, Message(topic, key, value, unpack_headers(headers)))
            for seq, bucket, topic, key, value, headers in values
        ]

    async def _send(self, rows: Sequence[_Row]) -> None:
        rows = self._sendable(rows)
        sent = rows
        try:
            if rows:
                await self._bus.publish([row.message for row in rows])
        except PublishFailed as error:
            sent = [row for index, row in enumerate(rows) if index in error.acknowledged]
            refused = {row.bucket for index, row in enumerate(rows) if index not in error.acknowledged}
            self._rest(refused, str(error))
        else:
            self._backoff.succeeded()
        if sent:
            await self._delete(sent)

    def _sendable(self, rows: Sequence[_Row]) -> list[_Row]:
        """All but what the bus would refuse (it took more when the row was written), and what is behind that."""
        limit = self._bus.features.max_bytes
        stuck: set[int] = set()
        sendable = []
        for row in rows:
            if len(row.message.value) > limit:
                stuck.add(row.bucket)
            if row.bucket not in stuck:
                sendable.append(row)
        if stuck:
            self._rest(stuck, f"an event is larger than the {limit:,} bytes that the bus takes")
        return sendable

    def _rest(self, buckets: set[int], reason: str) -> None:
        self._waiting.lasts(reason)
        until = self._clock.monotonic() + self._backoff.failed()
        self._resting |= dict.fromkeys(buckets, until)

    async def _delete(self, rows: Sequence[_Row]) -> None:
        async with self._store.transaction() as tx:
            deleted = await tx.execute(
                expand(_DELETE, len(rows)), *(row.seq for row in rows), *self._lease.proof
            )
        if deleted < len(rows):
            self._lease.doubt()
        self._sent.append((self._clock.monotonic(), len(rows)))
