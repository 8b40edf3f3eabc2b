"""Events in flight: in which order they may be handled, and how far each partition is done."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from micro.bus.delivery import Delivery
    from micro.bus.message import Partition, Record

IN_FLIGHT = 500
"""Records of one partition that are fetched and not done. At this many the partition is left alone for a while."""


@dataclass(slots=True)
class _Progress:
    """One partition: what was fetched and isn't done, the offset after the last one fetched, and the position stored."""

    next: int = 0
    open: set[int] = field(default_factory=set)
    stored: int = -1

    @property
    def position(self) -> int:
        """The lowest offset that isn't done. Offsets may have gaps, and come again after a rebalance."""
        return min(self.open, default=self.next)


@dataclass(slots=True, eq=False)
class _Lane:
    """A slice of a partition's keys. One batch of it is out at a time, so its events stay in order."""

    waiting: deque[Delivery] = field(default_factory=deque)
    listed: bool = False
    """Whether it stands in line or a batch of it is out."""


class Batch(NamedTuple):
    """Deliveries of one lane, in order."""

    lane: _Lane
    deliveries: list[Delivery]


class Lanes:
    """Deals events of partitions to workers. Used within one event loop."""

    def __init__(self, slices: int) -> None:
        self._slices = slices
        self._partitions: dict[Partition, _Progress] = {}
        self._lanes: dict[tuple[Partition, int], _Lane] = {}
        self._line: asyncio.Queue[_Lane | None] = (
            asyncio.Queue()
        )  # at most once each, so as long as there are lanes
        self._closed = False

    def put(self, delivery: Delivery) -> None:
        """Add a fetched event behind those of its lane. One that is in flight already is ignored."""
        partition, offset = delivery.record.partition, delivery.record.offset
        progress = self._progress(partition)
        if offset in progress.open:
            return
        progress.open.add(offset)
        progress.next = offset + 1
        slice = crc32(delivery.place.key.encode()) % self._slices
        lane = self._lanes.setdefault((partition, slice), _Lane())
        lane.waiting.append(delivery)
        if not lane.listed:
            self._stand(lane)

    def skip(self, record: Record) -> None:
        """Note that there is nothing to do for a fetched record."""
        self._progress(record.partition).next = record.offset + 1

    async def take(self, limit: int) -> Batch | None:
        """The next lane with up to `limit` of its events; nothing once `close` was called."""
        lane = await self._line.get()
        if lane is None or self._closed:
            return None
        return Batch(lane, [lane.waiting.popleft() for _ in range(min(limit, len(lane.waiting)))])

    def done(self, batch: Batch) -> None:
        """All events of a batch are applied or parked, and committed."""
        for delivery in batch.deliveries:
            self._partitions[delivery.record.partition].open.discard(delivery.record.offset)
        batch.lane.listed = False
        if batch.lane.waiting:
            self._stand(batch.lane)

    def close(self, takers: int) -> None:
        """End every `take`; what waits is left."""
        self._closed = True
        for _ in range(takers):
            self._line.put_nowait(None)

    def full(self) -> list[Partition]:
        """Partitions with so much in flight that no more should be fetched."""
        return [partition for partition, known in self._partitions.items() if len(known.open) >= IN_FLIGHT]

    def news(self) -> dict[Partition, int]:
        """Per partition, the offset below which everything is done, where that isn't what is stored."""
        return {
            partition: progress.position
            for partition, progress in self._partitions.items()
            if progress.position != progress.stored
        }

    def stored(self, positions: Mapping[Partition, int]) -> None:
        """Note positions that are stored now."""
        for partition, position in positions.items():
            self._partitions[partition].stored = position

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop what is known of partitions that went through other hands, unless something of them is in flight."""
        for partition in partitions:
            if not self._partitions[partition].open:
                del self._partitions[partition]

    @property
    def in_flight(self) -> int:
        """Events fetched and not done."""
        return sum(len(progress.open) for progress in self._partitions.values())

    def _stand(self, lane: _Lane) -> None:
        lane.listed = True
        self._line.put_nowait(lane)

    def _progress(self, partition: Partition) -> _Progress:
        return self._partitions.setdefault(partition, _Progress())
