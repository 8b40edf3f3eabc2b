"""Reads the bus's log by position: what was, in the order of time, and what comes, as it comes."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from micro.bus.message import Partition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping

    from micro.bus.message import Record
    from micro.bus.ports import Log
    from micro.clock import Clock

_CHUNK = 200
"""Records that are read of a partition at a time."""
_WAIT = 60.0
"""Seconds that one read waits for news before it is made again."""
_LOOK_FOR_TOPICS = 1.0
_MOST_WAITING = 1000
"""Records that a slow reader of the tail may leave waiting; then the log is read no further."""


class Span(NamedTuple):
    """What is to be read of a partition: `start` ≤ offset < `end`."""

    start: int
    end: int


async def spans(
    log: Log, topics: Collection[str] = (), *, since: float | None = None
) -> dict[Partition, Span]:
    """What can be read now of these topics (of all, for none), from `since` (epoch seconds) on."""
    known = await log.topics()
    chosen = [
        Partition(topic, number)
        for topic, partitions in sorted(known.items())
        if not topics or topic in topics
        for number in range(partitions)
    ]
    found = await asyncio.gather(*(log.bounds(partition, since=since) for partition in chosen))
    return {partition: Span(*bounds) for partition, bounds in zip(chosen, found, strict=True)}


async def history(log: Log, wanted: Mapping[Partition, Span]) -> AsyncGenerator[Record, None]:
    """Every record in these spans, ordered by the time at which the bus took it."""
    readers = [_Reader(log, partition, span) for partition, span in wanted.items() if span.start < span.end]
    heads: list[tuple[float, Partition, int, _Reader, Record]] = []
    for reader in readers:
        await _push(heads, reader)
    while heads:
        *_, reader, record = heapq.heappop(heads)
        yield record
        await _push(heads, reader)


async def follow(
    log: Log, starts: Mapping[Partition, int], topics: Collection[str], *, clock: Clock
) -> AsyncGenerator[Record, None]:
    """What is published from these positions on, and in topics that come later from their beginning. Never ends.

    What arrives together is in the order of time. Close it (`aclose`) to end the reading.
    """
    arrived: asyncio.Queue[Record] = asyncio.Queue(_MOST_WAITING)
    readers = asyncio.create_task(_read_all(log, dict(starts), topics=topics, arrived=arrived, clock=clock))
    try:
        while True:
            waiting = asyncio.ensure_future(arrived.get())
            await asyncio.wait({waiting, readers}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                _raise_first(readers)
            together = [waiting.result(), *(arrived.get_nowait() for _ in range(arrived.qsize()))]
            for record in sorted(together, key=lambda record: record.timestamp):
                yield record
    finally:
        readers.cancel()
        await asyncio.gather(readers, return_exceptions=True)


def _raise_first(readers: asyncio.Task[None]) -> None:
    """What made the readers end, which they never do by themselves: one of them failed."""
    try:
        readers.result()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group


async def _read_all(
    log: Log,
    starts: dict[Partition, int],
    *,
    topics: Collection[str],
    arrived: asyncio.Queue[Record],
    clock: Clock,
) -> None:
    """One reader for each partition, those of new topics included. Never returns."""
    reading: set[Partition] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            for partition in await spans(log, topics):
                if partition not in reading:
                    reading.add(partition)
                    group.create_task(_read_on(log, partition, starts.get(partition, 0), arrived))
            await clock.sleep(_LOOK_FOR_TOPICS)


async def _read_on(log: Log, partition: Partition, offset: int, arrived: asyncio.Queue[Record]) -> None:
    while True:
        for record in await log.read(partition, offset, limit=_CHUNK, wait=_WAIT):
            await arrived.put(record)
            offset = record.offset + 1


async def _push(heads: list[tuple[float, Partition, int, _Reader, Record]], reader: _Reader) -> None:
    record = await reader.next()
    if record is not None:
        heapq.heappush(heads, (record.timestamp, record.partition, record.offset, reader, record))


class _Reader:
    """One partition, record by record."""

    def __init__(self, log: Log, partition: Partition, span: Span) -> None:
        self._log = log
        self._partition = partition
        self._offset, self._end = span
        self._ahead: deque[Record] = deque()

    async def next(self) -> Record | None:
        if not self._ahead and self._offset < self._end:
            limit = min(_CHUNK, self._end - self._offset)
            records = await self._log.read(self._partition, self._offset, limit=limit)
            self._ahead.extend(record for record in records if record.offset < self._end)
            self._offset = records[-1].offset + 1 if records else self._end
        return self._ahead.popleft() if self._ahead else None
