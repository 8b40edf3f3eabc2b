"""The memory bus's storage: partitions as rows of records, their newest end in memory, all of it in the journal."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from micro.bus.message import Partition, Record
from micro.bus.ports import Bounds
from micro.errors import BusUnavailable, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from micro.bus.message import Message
    from micro.bus.ports import Journal
    from micro.clock import Clock

PARTITIONS = 12
"""Of every topic; as many as the default in production, so that order per key means the same in both."""
RETENTION = 7 * 86_400.0
"""Seconds that records are kept."""

_TAIL = 256
_TAIL_BYTES = 1_048_576
"""With a journal, at most so many of a partition's newest records stay in memory, and so many bytes of them."""


@dataclass(slots=True)
class _Log:
    """One partition: offsets `start` to `end`, without a gap; the newest of them in `tail`."""

    start: int = 0
    end: int = 0
    tail: list[Record] = field(default_factory=list)
    size: int = 0

    def append(self, record: Record) -> None:
        self.tail.append(record)
        self.end = record.offset + 1
        self.size += len(record.message.value)

    def keep(self, tail: list[Record]) -> None:
        self.tail = tail
        self.size = sum(len(record.message.value) for record in tail)


class Logs:
    """Every partition of every topic. One caller at a time may append; anyone may read meanwhile."""

    def __init__(self, *, clock: Clock, journal: Journal | None) -> None:
        self._clock = clock
        self._journal = journal
        self._logs: dict[Partition, _Log] = {}
        self._latest = 0.0

    async def trim(self) -> Mapping[str, dict[Partition, int]]:
        """Forget what is older than `RETENTION`, and take over what the journal has; the answer is its positions."""
        keep_since = self._clock.now().timestamp() - RETENTION
        if self._journal is None:
            for log in self._logs.values():
                log.keep([record for record in log.tail if record.timestamp >= keep_since])
                log.start = log.end - len(log.tail)
            return {}
        with _available("the journal can't be read"):
            state = await self._journal.load(keep_since=keep_since)
        for partition, bounds in state.bounds.items():
            log = self._log(partition)
            held = log.tail if log.end == bounds.end else []
            log.start, log.end = bounds
            log.keep([record for record in held if record.offset >= log.start])
        return state.positions

    async def append(self, messages: Sequence[Message]) -> list[Record]:
        """Store messages, in the journal first; all of them or none. Raises `BusUnavailable`."""
        records = self._place(messages)
        if self._journal is not None:
            with _available("the journal can't be written"):
                await self._journal.append(records)
        for record in records:
            log = self._log(record.partition)
            log.append(record)
            while self._journal is not None and (len(log.tail) > _TAIL or log.size > _TAIL_BYTES):
                log.keep(log.tail[len(log.tail) // 2 + 1 :])
        return records

    async def read(self, partition: Partition, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records at or after `offset`, from memory where it has them."""
        log = self._logs.get(partition)
        if log is None or offset >= log.end:
            return []
        skip = max(offset, log.start) - (log.end - len(log.tail))
        if skip >= 0 or self._journal is None:
            return log.tail[skip : skip + limit]
        with _available("the journal can't be read"):
            return await self._journal.read(partition, offset, limit)

    async def bounds(self, partition: Partition, since: float | None) -> Bounds:
        """What can be read, from the first record taken at or after `since` on."""
        log = self._logs.get(partition, _Log())
        if since is None:
            return Bounds(log.start, log.end)
        if self._journal is None or len(log.tail) == log.end - log.start:
            found = [record for record in log.tail if record.timestamp >= since]
        else:
            with _available("the journal can't be read"):
                found = await self._journal.read(partition, log.start, 1, since=since)
        return Bounds(found[0].offset if found else log.end, log.end)

    def create(self, topic: str) -> list[Partition]:
        """The partitions of a topic, which exists from now on."""
        partitions = [Partition(topic, number) for number in range(PARTITIONS)]
        for partition in partitions:
            self._log(partition)
        return partitions

    def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        return dict.fromkeys(sorted({partition.topic for partition in self._logs}), PARTITIONS)

    def start(self, partition: Partition) -> int:
        """The oldest offset that can be read."""
        return self._log(partition).start

    def _log(self, partition: Partition) -> _Log:
        return self._logs.setdefault(partition, _Log())

    def _place(self, messages: Sequence[Message]) -> list[Record]:
        """Give each message its partition, its offset and the time. Time never goes back within the log."""
        self._latest = max(self._latest, self._clock.now().timestamp())
        ends: dict[Partition, int] = {}
        records = []
        for message in messages:
            partition = Partition(message.topic, crc32(message.key.encode()) % PARTITIONS)
            offset = ends.get(partition, self._logs.get(partition, _Log()).end)
            ends[partition] = offset + 1
            records.append(Record(partition, offset, message, self._latest))
        return records


@contextmanager
def _available(otherwise: str) -> Iterator[None]:
    try:
        yield
    except (StoreError, OSError) as error:
        raise BusUnavailable(f"{otherwise}: {error}") from error
