"""The bus in one process. This is the readable specification of `micro.bus.ports`; Kafka passes the same suite.

A topic is a number of logs, its partitions; a key belongs to one of them (`memory_log`). A group is a set of members
that share the partitions, and a position in each (`memory_group`). Nothing here knows what a message means.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from micro.bus.memory_group import Arrivals, Group
from micro.bus.memory_log import Logs
from micro.bus.ports import BusFeatures
from micro.errors import BusUnavailable, EventTooLarge

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from micro.bus.memory_group import Member
    from micro.bus.message import Message, Partition, Record
    from micro.bus.ports import Bounds, Journal
    from micro.clock import Clock

MAX_BYTES = 1_048_576 - 16_384
"""Kafka's default for a record, less room for the key and for the headers that a dead letter gets."""

_TRIM_EVERY = 3600.0

logger = logging.getLogger("micro.bus")


class MemoryBus:
    """`Bus` and `Log` in one process.

    With a journal every record is on disk before it is acknowledged, and the next run goes on where this one stopped.
    Without one, everything is forgotten with the object.
    """

    features: ClassVar[BusFeatures] = BusFeatures(
        ordered_by_key=True,
        groups=True,
        replays=True,
        survives_restart=False,
        survives_power_loss=False,
        shared_by_processes=False,
        max_bytes=MAX_BYTES,
    )

    def __init__(self, url: str = "memory:", *, clock: Clock, journal: Journal | None = None) -> None:
        self.url = url
        self._clock = clock
        self._journal = journal
        if journal is not None:
            self.features = replace(self.features, survives_restart=True)  # type: ignore[misc]  # this one keeps more
        self._logs = Logs(clock=clock, journal=journal)
        self._arrivals = Arrivals(clock)
        self._groups: dict[str, Group] = {}
        self._turn = asyncio.Lock()
        self._writes: set[asyncio.Task[list[Record]]] = set()
        self._trimmed = 0.0
        self._opened = False

    async def open(self) -> None:
        """Take up the log and the positions where the journal has them."""
        for name, positions in (await self._logs.trim()).items():
            self._group(name).positions.update(positions)
        self._trimmed = self._clock.monotonic()
        self._opened = True

    async def close(self) -> None:
        """See `micro.backend.Backend`. What is being written is finished first; its callers get the outcome."""
        self._opened = False
        for member in [member for group in self._groups.values() for member in group.members]:
            await member.close()
        self._arrivals.notify()
        await asyncio.gather(*self._writes, return_exceptions=True)

    async def publish(self, messages: Sequence[Message]) -> list[Record]:
        """See `Bus.publish`. All or nothing, even when the caller is cancelled meanwhile."""
        for message in messages:
            if len(message.value) > MAX_BYTES:
                raise EventTooLarge(f"{message.topic}: {len(message.value):,} bytes of at most {MAX_BYTES:,}")
        write = asyncio.create_task(self._append(messages))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        try:
            return await asyncio.shield(write)
        except asyncio.CancelledError:
            write.add_done_callback(_tell)
            raise

    async def subscribe(self, group: str, topics: Collection[str]) -> Member:
        """See `Bus.subscribe`."""
        self._check_open()
        return self._group(group).join(topics)

    async def topics(self) -> dict[str, int]:
        """See `Log.topics`."""
        return self._logs.topics()

    async def bounds(self, partition: Partition, *, since: float | None = None) -> Bounds:
        """See `Log.bounds`."""
        self._check_open()
        return await self._logs.bounds(partition, since)

    async def read(self, partition: Partition, offset: int, *, limit: int, wait: float = 0.0) -> list[Record]:
        """See `Log.read`."""

        async def read() -> list[Record]:
            self._check_open()
            return await self._logs.read(partition, offset, limit)

        return await self._arrivals.first(read, wait)

    async def positions(self) -> dict[str, dict[Partition, int]]:
        """See `Log.positions`."""
        return {name: dict(group.positions) for name, group in self._groups.items() if group.positions}

    async def _append(self, messages: Sequence[Message]) -> list[Record]:
        async with self._turn:
            self._check_open()
            if self._clock.monotonic() - self._trimmed >= _TRIM_EVERY:
                await self._logs.trim()
                self._trimmed = self._clock.monotonic()
            try:
                records = await self._logs.append(messages)
            except BusUnavailable:
                self._trimmed = -math.inf  # ask the journal what it has before the next
                raise
        self._arrivals.notify()
        return records

    def _group(self, name: str) -> Group:
        known = self._groups.get(name)
        if known is None:
            known = self._groups[name] = Group(
                name, logs=self._logs, arrivals=self._arrivals, journal=self._journal
            )
        return known

    def _check_open(self) -> None:
        if not self._opened:
            raise BusUnavailable("the bus is closed")


def _tell(write: asyncio.Task[list[Record]]) -> None:
    """Say that a write has failed after its caller was gone."""
    if not write.cancelled() and (error := write.exception()) is not None:
        logger.error(
            "events were not written, and who published them was cancelled meanwhile", exc_info=error
        )
