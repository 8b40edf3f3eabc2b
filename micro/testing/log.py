"""The contract suite of `Log`: reading by position."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.bus.message import Message
from micro.testing.bus_fixtures import BusFixtures

if TYPE_CHECKING:
    from micro.bus.events import LoggedBus
    from micro.bus.message import Record


class LogContract(BusFixtures):
    """What `Log` promises, on a backend that is a `Bus` too."""

    async def test_topics_are_listed_with_their_partitions(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        await bus.subscribe(group, [topic])
        [placed] = await bus.publish([Message(f"{topic}-two", "k", b"")])
        topics = await bus.topics()
        assert topics[topic] >= 1, "subscribing creates a topic"
        assert topics[f"{topic}-two"] > placed.partition.number, "publishing creates a topic"

    async def test_a_partition_is_read_from_any_offset(self, bus: LoggedBus, topic: str) -> None:
        placed = await bus.publish([Message(topic, "k", b"%d" % n) for n in range(10)])
        partition = placed[0].partition
        for skip in (0, 4, 9):
            read = await self.read_all(bus, placed[skip], 10 - skip)
            assert [record.message.value for record in read] == [b"%d" % n for n in range(skip, 10)]
        assert await bus.read(partition, placed[-1].offset + 1, limit=10) == []
        assert len(await bus.read(partition, placed[0].offset, limit=3)) <= 3

    async def test_bounds_say_what_can_be_read(self, bus: LoggedBus, topic: str, group: str) -> None:
        await bus.subscribe(group, [topic])
        placed = await bus.publish([Message(topic, "k", b"%d" % n) for n in range(5)])
        bounds = await bus.bounds(placed[0].partition)
        assert bounds == (placed[0].offset, placed[-1].offset + 1)

    async def test_bounds_since_a_moment_start_at_the_first_record_of_that_moment(
        self, bus: LoggedBus, topic: str
    ) -> None:
        [first] = await bus.publish([Message(topic, "k", b"first")])
        async with asyncio.timeout(60):
            later = first
            while later.timestamp <= first.timestamp:  # until the bus's clock has moved
                before, [later] = later, await bus.publish([Message(topic, "k", b"later")])
        bounds = await bus.bounds(later.partition, since=later.timestamp)
        assert bounds.start == later.offset == before.offset + 1
        assert bounds.end == later.offset + 1
        after = await bus.bounds(later.partition, since=later.timestamp + 3600)
        assert after.start == after.end == later.offset + 1

    async def test_reading_moves_no_position(self, bus: LoggedBus, topic: str, group: str) -> None:
        member = await bus.subscribe(group, [topic])
        [placed] = await bus.publish([Message(topic, "k", b"one")])
        await self.read_all(bus, placed, 1)
        assert group not in await bus.positions()
        async with asyncio.timeout(60):
            while not (records := await member.fetch(limit=1, wait=1)):
                pass
        assert records[0].offset == placed.offset

    async def test_positions_are_those_committed(self, bus: LoggedBus, topic: str, group: str) -> None:
        member = await bus.subscribe(group, [topic])
        [placed] = await bus.publish([Message(topic, "k", b"one")])
        async with asyncio.timeout(60):
            while not await member.fetch(limit=1, wait=1):
                pass
        await member.commit({placed.partition: placed.offset + 1})
        assert (await bus.positions())[group] == {placed.partition: placed.offset + 1}

    async def test_a_waiting_read_wakes_when_a_record_arrives(self, bus: LoggedBus, topic: str) -> None:
        [placed] = await bus.publish([Message(topic, "k", b"one")])
        waiting = asyncio.create_task(bus.read(placed.partition, placed.offset + 1, limit=1, wait=20))
        await asyncio.wait([waiting], timeout=0.01)
        await bus.publish([Message(topic, "k", b"two")])
        async with asyncio.timeout(60):
            assert [record.message.value for record in await waiting] == [b"two"]

    async def test_readers_do_not_disturb_each_other(self, bus: LoggedBus, topic: str) -> None:
        placed = await bus.publish([Message(topic, "k", b"%d" % n) for n in range(20)])
        reads = await asyncio.gather(*(self.read_all(bus, placed[0], 20) for _ in range(5)))
        assert all(read == reads[0] for read in reads)

    async def read_all(self, bus: LoggedBus, first: Record, count: int) -> list[Record]:
        """`count` records from `first` on."""
        records: list[Record] = []
        async with asyncio.timeout(60):
            while len(records) < count:
                offset = first.offset + len(records)
                records += await bus.read(first.partition, offset, limit=count, wait=1)
        return records[:count]
