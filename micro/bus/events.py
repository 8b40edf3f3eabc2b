"""Everything that one running service does with events, behind one object."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Protocol

from micro.bus.backoff import supervised
from micro.bus.consumer import Consumer
from micro.bus.message import Partition
from micro.bus.outbox import Outbox
from micro.bus.parking import Parking
from micro.bus.ports import Bus, Log
from micro.bus.relay import Relay
from micro.bus.subscriber import Subscriber
from micro.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from micro.bus.replay import Progress, Range
    from micro.clock import Clock
    from micro.service import Service
    from micro.store.ports import Store

_PURGE_EVERY = 600.0


class LoggedBus(Bus, Log, Protocol):
    """A bus whose log can be read by position."""


class Events:
    """A service's outbox, relay, consumer, parking and replay.

    The store is open and migrated, the bus open, before `run`; both outlive it. `owner` names this process among those
    that share the database. Without subscriptions there is no consumer.
    """

    def __init__(self, service: Service, *, store: Store, bus: LoggedBus, clock: Clock, owner: str) -> None:
        self.outbox = Outbox(
            service.name, clock=clock, max_bytes=bus.features.max_bytes, publishes=service.publishes
        )
        self.subscriber = Subscriber(
            service.name, service.handlers, store=store, outbox=self.outbox, clock=clock
        )
        self.relay = Relay(store, bus, outbox=self.outbox, clock=clock, owner=owner)
        self.consumer = Consumer(self.subscriber, bus) if service.handlers else None
        self.parking = Parking(self.subscriber)
        self._store = store
        self._bus = bus
        self._clock = clock

    async def run(self) -> None:
        """Run all parts until cancelled. One that fails is logged and started again, the others go on meanwhile.

        May be run again after it was cancelled, drained or not.
        """
        parts = {"the relay": self.relay.run, "parking": self.parking.run, "housekeeping": self._keep_house}
        if self.consumer is not None:
            self.consumer.resume()
            parts["the consumer"] = self.consumer.run
        async with asyncio.TaskGroup() as tasks:
            for name, part in parts.items():
                tasks.create_task(supervised(part, name, clock=self._clock, log=self.subscriber.log))

    async def drain(self, timeout: float) -> bool:
        """Stop taking events in, finish what is in hand, and send what is in the outbox; cancel `run` afterwards.

        False when `timeout` seconds were not enough: nothing is lost then either, whoever comes next goes on with it.
        """
        try:
            async with asyncio.timeout(timeout):
                if self.consumer is not None:
                    await self.consumer.stop()
                await self.relay.drained()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            await self.relay.release()

    def replay(self, span: Range) -> AsyncIterator[Progress]:
        """Apply a range of the log again; see `micro.bus.replay.replay`."""
        from micro.bus.replay import replay  # noqa: PLC0415 - loaded when first used

        return replay(span, self.subscriber, self._bus)

    async def stats(self) -> dict[str, Any]:
        """What `events stats` shows. Ages and rates are in seconds, `lag` per ``topic/partition`` in records."""
        depth, oldest = await self._outbox_depth()
        parked, dead = await self.subscriber.parked.counts()
        consumer = self.consumer
        return {
            "service": self.subscriber.name,
            "outbox": {"depth": depth, "oldest_age": oldest},
            "relay": {"rate": self.relay.rate, "error": self.relay.error},
            "consuming": consumer is not None and consumer.consuming,
            "error": consumer.error if consumer is not None else None,
            "in_flight": consumer.in_flight if consumer is not None else 0,
            "parked": parked,
            "dead": dead,
            "lag": await self._lag(),
        }

    async def _outbox_depth(self) -> tuple[int, float | None]:
        [row] = await self._store.query("select count(*), min(created_at) from micro_outbox")
        depth, oldest = row
        age = None if oldest is None else max(0.0, self._clock.now().timestamp() - float(oldest))
        return int(str(depth)), age

    async def _lag(self) -> dict[str, int]:
        """What has been published and not yet been done with."""
        positions = (await self._bus.positions()).get(self.subscriber.name, {})
        lag = {}
        for partition in await self._partitions():
            bounds = await self._bus.bounds(partition)
            behind = bounds.end - max(bounds.start, positions.get(partition, bounds.start))
            lag[f"{partition.topic}/{partition.number}"] = behind
        return lag

    async def _partitions(self) -> list[Partition]:
        """Those that are there of what the service subscribes to."""
        topics = await self._bus.topics()
        return [
            Partition(topic, number)
            for topic in sorted(self.subscriber.topics)
            for number in range(topics.get(topic, 0))
        ]

    async def _keep_house(self) -> None:
        while True:
            with contextlib.suppress(BusUnavailable):  # then it is done the next time
                await self.subscriber.inbox.purge(self._store, self._oldest)
            await self._clock.sleep(_PURGE_EVERY)

    async def _oldest(self) -> float:
        """When the first record was written that the service could be given again (epoch seconds).

        Infinity where there is none, minus infinity where that can't be told now.
        """
        oldest = math.inf
        for partition in await self._partitions():
            bounds = await self._bus.bounds(partition)
            if bounds.start < bounds.end:
                records = await self._bus.read(partition, bounds.start, limit=1)
                oldest = min(oldest, records[0].timestamp if records else -math.inf)
        return oldest
