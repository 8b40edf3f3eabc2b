"""The contract suite of the bus ports. Every backend passes it: subclass, name the backend, run pytest.

    class TestKafka(BusContract, LogContract):
        @pytest.fixture
        async def make(self):
            async def make() -> KafkaBus:
                bus = KafkaBus(URL, clock=SystemClock())
                await bus.open()
                return bus

            return make

`make` opens a bus on this test's log; called again after the former was closed, it opens the same log again. Topics
and groups are new in every test, so tests may share a server. What a backend doesn't promise is skipped by name.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from micro.bus.message import Message
from micro.clock import SystemClock
from micro.errors import BusUnavailable, EventTooLarge
from micro.testing.bus_fixtures import BusFixtures, collect, member_waits, need, values
from micro.testing.log import LogContract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.bus.events import LoggedBus
    from micro.bus.message import Record

__all__ = ["BusContract", "LogContract", "collect"]


class BusContract(BusFixtures):
    """What `Bus` and `Subscription` promise."""

    async def test_a_record_arrives_as_it_was_published(self, bus: LoggedBus, topic: str, group: str) -> None:
        sent = Message(topic, "clé 🔑", bytes(range(256)), (("one", b"\x00\xff"), ("two", b"")))
        [placed] = await bus.publish([sent])
        [got] = await collect(await bus.subscribe(group, [topic]), 1)
        assert got.message == sent
        assert (got.partition, got.offset) == (placed.partition, placed.offset)
        assert got.timestamp == pytest.approx(SystemClock().now().timestamp(), abs=3600)

    async def test_publishing_answers_with_the_places_in_the_order_given(
        self, bus: LoggedBus, topic: str
    ) -> None:
        messages = [Message(topic, f"key{n % 7}", b"%d" % n) for n in range(50)]
        records = await bus.publish(messages)
        assert [record.message for record in records] == messages
        assert len({(record.partition, record.offset) for record in records}) == 50

    async def test_publishing_nothing_is_no_error(self, bus: LoggedBus) -> None:
        assert await bus.publish([]) == []

    async def test_order_per_key_is_the_order_of_publishing(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        need(bus, "ordered_by_key")
        for start in range(0, 200, 40):
            await bus.publish([Message(topic, f"key{n % 9}", b"%03d" % n) for n in range(start, start + 40)])
        records = await collect(await bus.subscribe(group, [topic]), 200)
        for key in {record.message.key for record in records}:
            mine = [record for record in records if record.message.key == key]
            assert values(mine) == sorted(values(mine))
            assert len({record.partition for record in mine}) == 1, "a key belongs to one partition"

    async def test_concurrent_publishers_lose_and_reorder_nothing(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        async def publisher(name: str) -> None:
            for n in range(25):
                await bus.publish([Message(topic, name, b"%02d" % n)])

        async with asyncio.TaskGroup() as publishers:
            for number in range(8):
                publishers.create_task(publisher(f"publisher{number}"))
        records = await collect(await bus.subscribe(group, [topic]), 200)
        for number in range(8):
            mine = [record for record in records if record.message.key == f"publisher{number}"]
            assert values(mine) == [b"%02d" % n for n in range(25)]

    async def test_the_largest_message_is_taken_and_a_larger_one_refused_whole(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        size = bus.features.max_bytes
        with pytest.raises(EventTooLarge):
            await bus.publish([Message(topic, "k", b"small"), Message(topic, "k", b"x" * (size + 1))])
        await bus.publish([Message(topic, "k", b"x" * size)])
        [record] = await collect(await bus.subscribe(group, [topic]), 1)
        assert len(record.message.value) == size, "nothing of the refused batch was taken"

    async def test_a_new_group_starts_at_the_oldest_record(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        await bus.publish([Message(topic, f"key{n}", b"%d" % n) for n in range(20)])
        late = await bus.subscribe(group, [topic])
        assert len(await collect(late, 20)) == 20

    async def test_every_group_gets_every_record(self, bus: LoggedBus, topic: str, group: str) -> None:
        need(bus, "groups")
        members = [await bus.subscribe(f"{group}-{number}", [topic]) for number in range(3)]
        await bus.publish([Message(topic, f"key{n}", b"%d" % n) for n in range(20)])
        for member in members:
            assert sorted(values(await collect(member, 20))) == sorted(b"%d" % n for n in range(20))

    async def test_members_of_a_group_share_the_records(self, bus: LoggedBus, topic: str, group: str) -> None:
        need(bus, "groups")
        members = [await bus.subscribe(group, [topic]) for _ in range(2)]
        await self.settled(*members)
        await bus.publish([Message(topic, f"key{n}", b"%d" % n) for n in range(60)])
        got: list[bytes] = []
        async with asyncio.timeout(60):
            while len(got) < 60:
                for member in members:
                    got += values(await member.fetch(limit=100, wait=self.silence))
        assert sorted(got) == sorted(b"%d" % n for n in range(60)), "each record went to one member, once"

    async def test_a_group_may_read_several_topics(self, bus: LoggedBus, topic: str, group: str) -> None:
        member = await bus.subscribe(group, [topic, f"{topic}-two"])
        await bus.publish([Message(topic, "k", b"one"), Message(f"{topic}-two", "k", b"two")])
        assert sorted(values(await collect(member, 2))) == [b"one", b"two"]

    async def test_a_member_gets_a_record_once(self, bus: LoggedBus, topic: str, group: str) -> None:
        member = await bus.subscribe(group, [topic])
        await bus.publish([Message(topic, "k", b"once")])
        await collect(member, 1)
        assert await member.fetch(limit=10, wait=self.silence) == []

    async def test_what_was_not_committed_comes_again_after_a_close(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        await bus.publish([Message(topic, "k", b"%d" % n) for n in range(10)])
        first = await bus.subscribe(group, [topic])
        records = await collect(first, 10)
        await first.commit({records[3].partition: records[3].offset})
        await first.close()
        again = await collect(await bus.subscribe(group, [topic]), 7)
        assert values(again) == [b"%d" % n for n in range(3, 10)]

    async def test_a_member_that_leaves_hands_its_partitions_to_the_others(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        need(bus, "groups")
        stays, leaves = [await bus.subscribe(group, [topic]) for _ in range(2)]
        await self.settled(stays, leaves)
        shared = stays.assigned() | leaves.assigned()
        await leaves.close()
        await self.settled(stays)
        async with asyncio.timeout(60):
            while stays.assigned() != shared:
                assert await stays.fetch(limit=1, wait=self.silence) == []
        assert leaves.assigned() == frozenset()

    async def test_positions_of_partitions_in_other_hands_are_not_committed(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        await bus.publish([Message(topic, "k", b"one")])
        gone = await bus.subscribe(group, [topic])
        [record] = await collect(gone, 1)
        await gone.close()
        await gone.commit({record.partition: record.offset + 1})
        assert values(await collect(await bus.subscribe(group, [topic]), 1)) == [b"one"]

    async def test_a_position_never_goes_back(self, bus: LoggedBus, topic: str, group: str) -> None:
        """Somebody loses a partition, and gets it back after another has brought it further."""
        need(bus, "groups")
        first = await bus.subscribe(group, [topic])
        placed = await bus.publish([Message(topic, f"key{n}", b"%d" % n) for n in range(60)])
        ends = {record.partition: record.offset + 1 for record in placed}
        await collect(first, 60)
        other = await bus.subscribe(group, [topic])
        async with asyncio.timeout(60):
            while not other.assigned() or other.assigned() & first.assigned():
                await first.fetch(limit=60, wait=self.silence)
                await other.fetch(limit=60, wait=self.silence)
        further = {partition: end for partition, end in ends.items() if partition in other.assigned()}
        async with asyncio.timeout(60):
            while (await other.commit(further)).keys() < further.keys():
                await other.fetch(limit=60, wait=self.silence)
        await other.close()
        async with asyncio.timeout(60):
            while not first.assigned() >= further.keys():
                await first.fetch(limit=60, wait=self.silence)
        assert await first.commit(dict.fromkeys(further, 0)) == {}
        positions = (await bus.positions())[group]
        assert {partition: positions[partition] for partition in further} == further

    async def test_an_excluded_partition_waits_and_then_goes_on_where_it_was(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        member = await bus.subscribe(group, [topic])
        placed = await bus.publish([Message(topic, f"key{n}", b"%02d" % n) for n in range(40)])
        left_out = placed[0].partition
        held = [record.message.value for record in placed if record.partition == left_out]
        got: list[Record] = []
        async with asyncio.timeout(60):
            while len(got) < 40 - len(held):
                got += await member.fetch(limit=40, wait=self.silence, exclude={left_out})
        assert await member.fetch(limit=40, wait=self.silence, exclude={left_out}) == []
        assert left_out not in {record.partition for record in got}
        assert values(await collect(member, len(held))) == held

    async def test_fetch_keeps_its_limit(self, bus: LoggedBus, topic: str, group: str) -> None:
        await bus.publish([Message(topic, f"key{n}", b"%d" % n) for n in range(30)])
        member = await bus.subscribe(group, [topic])
        async with asyncio.timeout(60):
            while not (records := await member.fetch(limit=7, wait=1)):
                pass
        assert len(records) <= 7

    async def test_a_waiting_fetch_wakes_when_a_record_arrives(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        member = await bus.subscribe(group, [topic])
        await self.settled(member)
        waiting = asyncio.create_task(collect(member, 1))
        await bus.publish([Message(topic, "k", b"here")])
        async with asyncio.timeout(60):
            assert values(await waiting) == [b"here"]

    async def test_a_cancelled_fetch_loses_nothing(self, bus: LoggedBus, topic: str, group: str) -> None:
        member = await bus.subscribe(group, [topic])
        await self.settled(member)
        waiting = asyncio.create_task(member.fetch(limit=1, wait=60))
        await member_waits()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await bus.publish([Message(topic, "k", b"later")])
        assert values(await collect(member, 1)) == [b"later"]

    async def test_closing_a_member_ends_its_waiting_fetch(
        self, bus: LoggedBus, topic: str, group: str
    ) -> None:
        member = await bus.subscribe(group, [topic])
        waiting = asyncio.create_task(member.fetch(limit=1, wait=60))
        await member_waits()
        async with asyncio.timeout(60):
            await member.close()
            assert await waiting == []
        await member.close()

    async def test_a_closed_bus_refuses_and_closes_again(self, bus: LoggedBus, topic: str) -> None:
        await bus.close()
        with pytest.raises(BusUnavailable):
            await bus.publish([Message(topic, "k", b"late")])
        with pytest.raises(BusUnavailable):
            await bus.subscribe("late", [topic])
        await bus.close()

    async def test_log_and_positions_survive_a_restart(
        self, make: Callable[[], Awaitable[LoggedBus]], topic: str, group: str
    ) -> None:
        bus = await make()
        try:
            need(bus, "survives_restart")
            await bus.publish([Message(topic, "k", b"%d" % n) for n in range(10)])
            member = await bus.subscribe(group, [topic])
            records = await collect(member, 10)
            await member.commit({records[5].partition: records[5].offset})
        finally:
            await bus.close()
        bus = await make()
        try:
            [placed] = await bus.publish([Message(topic, "k", b"10")])
            assert placed.offset == records[-1].offset + 1, "offsets are never used again"
            again = await collect(await bus.subscribe(group, [topic]), 6)
            assert values(again) == [b"%d" % n for n in range(5, 11)]
        finally:
            await bus.close()
