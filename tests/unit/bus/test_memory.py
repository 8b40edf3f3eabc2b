"""What the memory bus does beyond the contract suite: its memory, its journal, its clock."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus.memory import MemoryBus
from micro.bus.memory_log import PARTITIONS, RETENTION
from micro.bus.message import Message, Partition
from micro.errors import BusUnavailable, StoreUnavailable
from micro.store.journal import SqliteJournal
from micro.testing.faults import FaultyJournal, fail_at

PART = Partition("t", 1)
"""Where the key "k" goes."""


@pytest.fixture
async def journal(tmp_path):
    journal = SqliteJournal(tmp_path / "bus.db")
    await journal.open()
    yield journal
    await journal.close()


@pytest.fixture
async def journaled(clock, journal):
    bus = MemoryBus(clock=clock, journal=journal)
    await bus.open()
    yield bus
    await bus.close()


def messages(*values, key="k"):
    return [Message("t", key, str(value).encode()) for value in values]


def values(records):
    return [int(record.message.value) for record in records]


class Held:
    """A fault of a journal: what is to be written waits for `go_on`, and fails with `error`, if there is one."""

    def __init__(self, error=None):
        self.reached, self.go_on, self.error = asyncio.Event(), asyncio.Event(), error

    async def __call__(self, point):
        if point == "before_append":
            self.reached.set()
            await self.go_on.wait()
            if self.error:
                raise self.error


@pytest.fixture
async def cancelled(clock, journal):
    """`cancelled(held)`: a bus whose publisher was cancelled in the middle of a write, which goes on after that."""
    opened = []

    async def cancelled(held):
        opened.append(bus := MemoryBus(clock=clock, journal=FaultyJournal(journal, held)))
        await bus.open()
        publishing = asyncio.create_task(bus.publish(messages(1)))
        await held.reached.wait()
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        held.go_on.set()
        return bus

    yield cancelled
    for bus in opened:
        await bus.close()


async def test_a_topic_has_twelve_partitions(bus):
    await bus.publish(messages(1))
    assert await bus.topics() == {"t": PARTITIONS} == {"t": 12}


async def test_a_key_goes_to_the_same_partition_in_every_release(bus):
    """The journal of one release is read by the next."""
    [record] = await bus.publish(messages(1))
    assert record.partition == PART


async def test_with_a_journal_only_the_newest_records_are_held_in_memory(journaled):
    for start in range(0, 1000, 50):
        await journaled.publish(messages(*range(start, start + 50)))
    held = [len(log.tail) for log in journaled._logs._logs.values()]
    assert max(held) <= 256
    assert values(await journaled.read(PART, 0, limit=2000)) == list(range(1000))
    assert values(await journaled.read(PART, 990, limit=2000)) == list(range(990, 1000))


async def test_large_records_do_not_fill_the_memory_either(journaled):
    for n in range(12):
        await journaled.publish([Message("t", "k", b"%02d" % n + b"x" * 300_000)])
        held = sum(len(record.message.value) for log in journaled._logs._logs.values() for record in log.tail)
        assert held <= 1_048_576
    assert [record.message.value[:2] for record in await journaled.read(PART, 0, limit=99)] == [
        b"%02d" % n for n in range(12)
    ]


async def test_a_member_reads_across_the_end_of_what_memory_holds(journaled):
    await journaled.publish(messages(*range(600)))
    member = await journaled.subscribe("g", ["t"])
    got = []
    while len(got) < 600:
        got += values(await member.fetch(limit=90, wait=0))
    assert got == list(range(600))


async def test_records_are_forgotten_after_seven_days(bus, clock):
    await bus.publish(messages(1))
    await clock.advance(RETENTION - 1)
    await bus.publish(messages(2))
    assert await bus.bounds(PART) == (0, 2)
    await clock.advance(3602)
    await bus.publish(messages(3))
    assert await bus.bounds(PART) == (1, 3)
    assert values(await bus.read(PART, 0, limit=9)) == [2, 3], (
        "an offset below the start reads from the start"
    )


async def test_a_journal_forgets_after_seven_days_too_and_keeps_its_offsets(journaled, clock, journal):
    await journaled.publish(messages(1))
    await clock.advance(RETENTION + 1)
    await journaled.publish(messages(2, key="another"))
    assert await journaled.bounds(PART) == (1, 1)
    assert await journal.read(PART, 0, 9) == []
    [record] = await journaled.publish(messages(3))
    assert record.offset == 1


async def test_a_new_group_after_a_trim_starts_at_the_oldest_record_kept(bus, clock):
    await bus.publish(messages(1))
    await clock.advance(RETENTION + 1)
    await bus.publish(messages(2))
    member = await bus.subscribe("late", ["t"])
    assert values(await member.fetch(limit=9, wait=0)) == [2]


async def test_a_wall_clock_that_goes_back_does_not_disorder_the_log(bus, clock):
    [first] = await bus.publish(messages(1))
    clock.jump(-3600)
    [second] = await bus.publish(messages(2))
    assert second.timestamp == first.timestamp


async def test_bounds_since_a_moment_that_only_the_journal_knows(journaled, clock):
    moments = []
    for n in range(300):
        [record] = await journaled.publish(messages(n))
        moments.append(record.timestamp)
        await clock.advance(1)
    assert (await journaled.bounds(PART, since=moments[3])).start == 3
    assert (await journaled.bounds(PART, since=moments[299] + 1)).start == 300
    assert await journaled.bounds(Partition("t", 0), since=0.0) == (0, 0)


async def test_a_record_is_in_the_journal_before_it_is_acknowledged_or_seen(clock, journal):
    seen = []

    async def look(point):
        if point == "after_append":
            seen.append((await bus.bounds(PART), len(await journal.read(PART, 0, 9))))

    bus = MemoryBus(clock=clock, journal=FaultyJournal(journal, look))
    await bus.open()
    await bus.publish(messages(1))
    assert seen == [((0, 0), 1)]
    await bus.close()


async def test_a_journal_that_fails_makes_the_bus_unavailable_and_takes_nothing(clock, journal):
    fault = fail_at("before_append", StoreUnavailable("disk full"))
    bus = MemoryBus(clock=clock, journal=FaultyJournal(journal, fault))
    await bus.open()
    with pytest.raises(BusUnavailable, match="disk full") as caught:
        await bus.publish(messages(1))
    assert isinstance(caught.value.__cause__, StoreUnavailable)
    assert values(await bus.read(PART, 0, limit=9)) == []
    await bus.publish(messages(2))
    assert values(await bus.read(PART, 0, limit=9)) == [2]
    await bus.close()


async def test_a_journal_that_stored_and_then_failed_is_believed(clock, journal):
    """The publisher has to take it as not sent; the log must not use the offset twice."""
    fault = fail_at("after_append", StoreUnavailable("the answer was lost"))
    bus = MemoryBus(clock=clock, journal=FaultyJournal(journal, fault))
    await bus.open()
    with pytest.raises(BusUnavailable):
        await bus.publish(messages(1))
    [record] = await bus.publish(messages(1))
    assert record.offset == 1
    assert values(await bus.read(PART, 0, limit=9)) == [1, 1]
    await bus.close()


async def test_positions_that_cannot_be_stored_are_said_so(clock, journal):
    bus = MemoryBus(clock=clock, journal=journal)
    await bus.open()
    member = await bus.subscribe("g", ["t"])
    await journal.close()
    with pytest.raises(BusUnavailable, match="positions not stored"):
        await member.commit({PART: 1})
    assert await bus.positions() == {}
    await bus.close()


async def test_a_cancelled_publish_is_whole_and_leaves_the_log_usable(cancelled):
    bus = await cancelled(Held())
    await bus.publish(messages(2))
    assert values(await bus.read(PART, 0, limit=9)) == [1, 2]


async def test_a_write_that_fails_after_its_publisher_was_cancelled_is_told(cancelled, caplog):
    bus = await cancelled(Held(OSError("no space left")))
    await bus.close()
    [told] = [record for record in caplog.records if record.name == "micro.bus"]
    assert "no space left" in str(told.exc_info[1])


async def test_closing_waits_for_what_is_being_written(clock, journal):
    held = Held()
    bus = MemoryBus(clock=clock, journal=FaultyJournal(journal, held))
    await bus.open()
    writing = asyncio.create_task(bus.publish(messages(1)))
    await held.reached.wait()
    closing = asyncio.create_task(bus.close())
    await clock.advance(0)
    assert not closing.done()
    held.go_on.set()
    await closing
    assert len(await writing) == 1


async def test_closing_the_bus_ends_what_waits(bus):
    member = await bus.subscribe("g", ["t"])
    fetching = asyncio.create_task(member.fetch(limit=1, wait=60))
    reading = asyncio.create_task(bus.read(PART, 0, limit=1, wait=60))
    for _ in range(5):
        await asyncio.wait([fetching, reading], timeout=0.001)
    await bus.close()
    async with asyncio.timeout(60):
        assert await fetching == []
        with pytest.raises(BusUnavailable):
            await reading


async def test_a_member_that_left_cannot_fetch(bus):
    member = await bus.subscribe("g", ["t"])
    await member.close()
    with pytest.raises(BusUnavailable, match="g: this member has left"):
        await member.fetch(limit=1, wait=60)


async def test_a_new_member_takes_half_and_what_was_not_committed_there_comes_again(bus):
    await bus.publish([Message("t", f"key{n}", b"%d" % n) for n in range(60)])
    old = await bus.subscribe("g", ["t"])
    first = await old.fetch(limit=100, wait=0)
    new = await bus.subscribe("g", ["t"])
    assert len(old.assigned()) == len(new.assigned()) == 6
    again = await new.fetch(limit=100, wait=0)
    assert {record.partition for record in again} == new.assigned()
    assert values(again) == [int(r.message.value) for r in first if r.partition in new.assigned()] or sorted(
        values(again)
    ) == sorted(int(r.message.value) for r in first if r.partition in new.assigned())
    assert await old.fetch(limit=100, wait=0) == [], "what it keeps goes on where it was"


async def test_members_get_only_the_topics_they_asked_for(bus):
    one = await bus.subscribe("g", ["t"])
    both = await bus.subscribe("g", ["t", "u"])
    assert {p.topic for p in one.assigned()} == {"t"}
    assert len([p for p in both.assigned() if p.topic == "u"]) == 12
    assert len([p for p in both.assigned() if p.topic == "t"]) == 6


async def test_a_rebalance_during_a_fetch_hands_nothing_over_twice(clock, journal):
    """What the member no longer owns when the journal has answered is not its to return."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    class SlowJournal(FaultyJournal):
        async def read(self, partition, offset, limit, *, since=0.0):
            records = await super().read(partition, offset, limit, since=since)
            reading.set()
            await go_on.wait()
            return records

    first_run = MemoryBus(clock=clock, journal=journal)
    await first_run.open()
    await first_run.publish([Message("t", f"key{n}", b"%d" % n) for n in range(60)])
    await first_run.close()
    bus = MemoryBus(clock=clock, journal=SlowJournal(journal, lambda point: None))
    await bus.open()
    old = await bus.subscribe("g", ["t"])
    fetching = asyncio.create_task(old.fetch(limit=100, wait=0))
    await reading.wait()
    new = await bus.subscribe("g", ["t"])
    go_on.set()
    assert {record.partition for record in await fetching} <= old.assigned()
    got = await new.fetch(limit=100, wait=0)
    assert {record.partition for record in got} == new.assigned()
    await bus.close()


async def test_no_partition_is_forgotten_behind_a_busy_one(bus):
    await bus.publish(messages(*range(100)))
    await bus.publish([Message("t", "another", b"1000")])
    member = await bus.subscribe("g", ["t"])
    seen = [*await member.fetch(limit=10, wait=0), *await member.fetch(limit=10, wait=0)]
    assert 1000 in values(seen)


async def test_before_open_and_after_close_it_refuses(clock):
    bus = MemoryBus("memory:", clock=clock)
    await bus.close()
    for attempt in (
        bus.publish(messages(1)),
        bus.subscribe("g", ["t"]),
        bus.bounds(PART),
        bus.read(PART, 0, limit=1),
    ):
        with pytest.raises(BusUnavailable):
            await attempt
