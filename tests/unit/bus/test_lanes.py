"""In which order events in flight are handled, and how far a partition is done."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.bus.delivery import Delivery
from micro.bus.lanes import IN_FLIGHT, Lanes
from micro.bus.message import Message, Partition, Record
from micro.errors import DecodeError

P = Partition("t", 0)
Q = Partition("t", 1)


def delivery(offset, key="k", partition=P):
    return Delivery(Record(partition, offset, Message("t", key, b""), 0.0), DecodeError("no event"))


def offsets(batch):
    return [each.record.offset for each in batch.deliveries]


async def test_events_of_a_lane_come_in_order_one_bounded_batch_at_a_time():
    lanes = Lanes(1)
    for offset in range(5):
        lanes.put(delivery(offset))
    first = await lanes.take(3)
    assert offsets(first) == [0, 1, 2]
    waiting = asyncio.create_task(lanes.take(3))
    await asyncio.wait([waiting], timeout=0.01)
    assert not waiting.done(), "the lane is out"
    lanes.done(first)
    assert offsets(await waiting) == [3, 4]


async def test_a_key_stays_in_its_lane_and_partitions_never_share_one():
    lanes = Lanes(4)
    for offset in range(40):
        lanes.put(delivery(offset, f"key{offset % 10}"))
        lanes.put(delivery(offset, f"key{offset % 10}", Q))
    batches = []
    while lanes.in_flight > sum(len(batch.deliveries) for batch in batches):
        batches.append(await lanes.take(100))
    assert len(batches) == 8
    for batch in batches:
        assert len({each.record.partition for each in batch.deliveries}) == 1
        assert offsets(batch) == sorted(offsets(batch))
    keys = [
        {each.record.message.key for each in b.deliveries}
        for b in batches
        if b.deliveries[0].record.partition == P
    ]
    assert sum(map(len, keys)) == 10


async def test_the_position_stays_below_the_lowest_event_that_is_not_done():
    lanes = Lanes(2)
    for offset, key in ((4, "a"), (7, "d"), (9, "a")):
        lanes.put(delivery(offset, key))
    one, two = await lanes.take(9), await lanes.take(9)
    first, second = (one, two) if 4 in offsets(one) else (two, one)
    assert lanes.news() == {P: 4}
    lanes.done(second)
    assert lanes.news() == {P: 4}
    lanes.done(first)
    assert lanes.news() == {P: 10}, "offsets may have gaps"


async def test_a_position_is_news_until_it_is_stored():
    lanes = Lanes(1)
    lanes.put(delivery(4))
    lanes.stored({P: 4})
    assert lanes.news() == {}
    lanes.done(await lanes.take(1))
    assert lanes.news() == {P: 5}
    lanes.stored({P: 5})
    assert lanes.news() == {}


async def test_a_partition_in_other_hands_is_forgotten_when_nothing_of_it_is_in_flight():
    lanes = Lanes(1)
    lanes.put(delivery(4))
    lanes.put(delivery(0, partition=Q))
    batch = await lanes.take(1)
    lanes.forget([P])
    lanes.put(delivery(4))
    lanes.done(batch)
    assert lanes.news() == {P: 5, Q: 0}, "what was in flight is done once, and its end is noted"
    lanes.stored({P: 5})
    lanes.forget([P, Q])
    assert lanes.news() == {Q: 0}
    lanes.put(delivery(3))
    assert lanes.news() == {P: 3, Q: 0}, "it comes back as if it had never been here"


async def test_what_nobody_handles_counts_as_done():
    lanes = Lanes(1)
    lanes.skip(delivery(0).record)
    assert lanes.news() == {P: 1}
    lanes.put(delivery(1))
    lanes.skip(delivery(2).record)
    assert lanes.news() == {P: 1}


async def test_a_record_that_comes_again_while_in_flight_is_handled_once():
    lanes = Lanes(1)
    for offset in (5, 6, 5, 6, 7):
        lanes.put(delivery(offset))
    assert offsets(await lanes.take(9)) == [5, 6, 7]


async def test_a_record_that_comes_again_after_it_was_done_is_handled_again():
    """After a rebalance the group's position may lie lower; the inbox knows what was applied."""
    lanes = Lanes(1)
    lanes.put(delivery(5))
    lanes.done(await lanes.take(9))
    lanes.put(delivery(4))
    assert lanes.news() == {P: 4}
    lanes.put(delivery(5))
    assert offsets(await lanes.take(9)) == [4, 5]


async def test_a_partition_with_much_in_flight_is_full_until_some_is_done():
    lanes = Lanes(1)
    for offset in range(IN_FLIGHT):
        lanes.put(delivery(offset))
    lanes.put(delivery(0, partition=Q))
    assert lanes.full() == [P]
    lanes.done(await lanes.take(1))
    assert lanes.full() == []


async def test_closing_ends_every_take_and_hands_out_nothing_more():
    lanes = Lanes(1)
    waiting = [asyncio.create_task(lanes.take(1)) for _ in range(2)]
    await asyncio.wait(waiting, timeout=0.01)
    lanes.put(delivery(0))
    lanes.close(2)
    async with asyncio.timeout(60):
        assert [await task for task in waiting] == [None, None]
    assert lanes.news() == {P: 0}


@pytest.mark.parametrize("slices", [1, 3])
@given(data=st.data())
async def test_order_and_position_hold_in_any_interleaving(slices, data):
    """Whatever is put, taken and done in whatever order: keys in order, position never above what is open."""
    lanes, out, handled, done, offset = Lanes(slices), [], {}, set(), 0
    for _ in range(data.draw(st.integers(1, 40))):
        step = data.draw(st.sampled_from(["put", "skip", "take", "done"]))
        if step == "put":
            lanes.put(delivery(offset, data.draw(st.sampled_from("abc"))))
            offset += data.draw(st.integers(1, 3))
        elif step == "skip":
            lanes.skip(delivery(offset).record)
            done.add(offset)
            offset += 1
        elif step == "take" and not lanes._line.empty():
            out.append(await lanes.take(data.draw(st.integers(1, 3))))
        elif step == "done" and out:
            batch = out.pop(data.draw(st.integers(0, len(out) - 1)))
            lanes.done(batch)
            for each in batch.deliveries:
                handled.setdefault(each.record.message.key, []).append(each.record.offset)
                done.add(each.record.offset)
        for position in lanes.news().values():
            assert not [each for batch in out for each in offsets(batch) if each < position]
    for seen in handled.values():
        assert seen == sorted(seen)
