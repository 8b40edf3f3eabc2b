"""The consumer: one subscription per service, from fetched record to committed position."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.bus.backoff import Backoff
from micro.bus.delivery import Delivery
from micro.bus.intake import PATIENCE, Intake
from micro.bus.lanes import Lanes
from micro.bus.notice import Notice
from micro.cancellation import uncancelled
from micro.errors import BusError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.bus.message import Record
    from micro.bus.ports import Bus, Subscription
    from micro.bus.subscriber import Subscriber

FETCH = 200
"""Records fetched at a time."""
BATCH = 100
"""Events applied in one transaction at most."""

_WAIT = 5.0
"""Seconds that a fetch waits when nothing is in flight: a record ends it at once."""
_WAIT_BUSY = 0.25
"""While something is, or is wrong: positions become ready to be stored, a recovery is noticed."""
_WAIT_FULL = 0.02
"""While a partition is left alone: it may have room again."""
_COMMIT_EVERY = 0.25
_SILENT = 30.0
"""Seconds without an answer from the bus after which this is no longer called consuming."""


class Consumer:
    """Hands each of a service's events to its handlers, in lanes: slices of a partition's keys, a batch at a time.

    Positions are stored below the lowest event in flight, so whatever is interrupted is delivered again, and found in
    the inbox where it had been committed.
    """

    def __init__(self, subscriber: Subscriber, bus: Bus) -> None:
        self._subscriber = subscriber
        self._intake = Intake(subscriber)
        self._bus = bus
        self._clock = subscriber.clock
        concurrent = subscriber.store.features.concurrent_writers
        self._workers, self._slices = (8, 4) if concurrent else (1, 1)
        self._lanes = Lanes(self._slices)
        self._stored_at = self._heard_at = float("-inf")
        self._feeder: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._troubles = {place: self._notice(place) for place in ("bus", "database")}

    @property
    def error(self) -> str | None:
        """Why it can't go on now."""
        return (
            "; ".join(f"{place}: {each.reason}" for place, each in self._troubles.items() if each.reason)
            or None
        )

    @property
    def consuming(self) -> bool:
        """Whether the bus has answered lately and the database takes what comes."""
        alive = self._feeder is not None and not self._feeder.done()
        return alive and self.error is None and self._clock.monotonic() - self._heard_at < _SILENT

    @property
    def in_flight(self) -> int:
        """Events fetched and not yet applied or parked."""
        return self._lanes.in_flight

    async def run(self) -> None:
        """Consume until `stop`. Raises what it can't mend by waiting; may be run again."""
        self._idle.clear()
        try:
            member = await self._bus.subscribe(self._subscriber.name, self._subscriber.topics)
            try:
                await self._consume(member)
            finally:
                await member.close()
        finally:
            self._idle.set()

    async def stop(self) -> None:
        """Finish the batches that are being applied, store the positions, leave the group. Returns when `run` has."""
        self._stopping.set()
        self._lanes.close(self._workers)
        if self._feeder is not None:
            self._feeder.cancel()
        await self._idle.wait()

    def resume(self) -> None:
        """Let the next `run` consume after a `stop`."""
        self._stopping.clear()

    async def _consume(self, member: Subscription) -> None:
        self._lanes = Lanes(self._slices)
        self._heard_at = self._clock.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work(self._lanes))
            self._feeder = tasks.create_task(self._feed(member))
            if self._stopping.is_set():
                self._feeder.cancel()
                self._lanes.close(self._workers)
        try:
            await self._store_positions(member)
        except BusError as error:  # then they are delivered again, and found in the inbox
            self._troubles["bus"].lasts(str(error))

    async def _feed(self, member: Subscription) -> None:
        with uncancelled("the feeder"):
            await self._fetch(member)

    async def _fetch(self, member: Subscription) -> None:
        backoff = Backoff(self._clock)
        while True:
            try:
                full = self._lanes.full()
                busy = self.in_flight or self.error or self._lanes.news()
                wait = _WAIT_FULL if full else _WAIT_BUSY if busy else _WAIT
                self._accept(await member.fetch(limit=FETCH, wait=wait, exclude=full))
                self._heard_at = self._clock.monotonic()
                if self._heard_at - self._stored_at >= _COMMIT_EVERY:
                    await self._store_positions(member)
            except BusError as error:
                self._troubles["bus"].lasts(str(error))
                await backoff.pause()
            else:
                self._troubles["bus"].ends()
                backoff.succeeded()

    def _accept(self, records: Sequence[Record]) -> None:
        for record in records:
            delivery = Delivery.of(record)
            if self._subscriber.wants(delivery):
                self._lanes.put(delivery)
            else:
                self._lanes.skip(record)

    async def _work(self, lanes: Lanes) -> None:
        with uncancelled("a worker"):
            await self._hand_over(lanes)

    async def _hand_over(self, lanes: Lanes) -> None:
        while batch := await lanes.take(BATCH):
            backoff, tries = Backoff(self._clock), 0
            while not await self._taken(batch.deliveries, tries):
                tries += 1
                await backoff.pause(unless=self._stopping)
                if self._stopping.is_set():
                    return
            lanes.done(batch)

    async def _taken(self, deliveries: Sequence[Delivery], tries: int) -> bool:
        """Whether all are done with. Tried again one by one: long transactions may be what is in each other's way."""
        batches = [deliveries] if not tries else [[each] for each in deliveries]
        try:
            for batch in batches:
                await self._intake.take(batch, blame=tries >= PATIENCE)
        except StoreUnavailable as error:
            self._troubles["database"].lasts(str(error))
            return False
        self._troubles["database"].ends()
        return True

    async def _store_positions(self, member: Subscription) -> None:
        if news := self._lanes.news():
            stored = await member.commit(news)
            self._lanes.stored(stored)
            self._lanes.forget(news.keys() - stored.keys())
            self._stored_at = self._clock.monotonic()

    def _notice(self, place: str) -> Notice:
        what, over = f"events wait for the {place}", f"events wait for the {place} no more"
        return Notice(what, over=over, log=self._subscriber.log, clock=self._clock)
