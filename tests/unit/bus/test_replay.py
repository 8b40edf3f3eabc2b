"""A range of the log goes through one subscriber's handlers again."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus.codec import encode
from micro.bus.consumer import Consumer
from micro.bus.delivery import Delivery
from micro.bus.intake import Intake
from micro.bus.message import Message
from micro.bus.origin import Origin
from micro.bus.replay import Range, replay
from micro.errors import NotFound, StoreUnavailable
from micro.testing.faults import FaultyStore, fail_at

TOPIC = Range(topic="order.events")


@pytest.fixture
async def shop(subscriber_of, bus, clock, store, spelled):
    """A subscriber that has applied what was published, and what it has applied since."""
    async with store.transaction() as tx:
        await tx.script(spelled("create table applied (seq integer primary key, n integer) strict", store))

    class Shop:
        bad = frozenset()

        async def handle(self, event, tx):
            await tx.execute("insert into applied (n) values (?)", event.data["n"])
            if event.data["n"] in self.bad:
                raise ValueError("bad")

        async def publish(self, *keys, n=0, type="OrderPlaced"):
            origin = Origin("shop", clock)
            return await bus.publish(
                [
                    encode(origin.event("order.events", type, {"n": n + i}, key=key))
                    for i, key in enumerate(keys)
                ]
            )

        async def consume(self, records):
            return await Intake(self.subscriber).take([Delivery.of(record) for record in records])

        async def applied(self):
            rows = await store.query("select n from applied order by seq")
            return [row[0] for row in rows]

        async def clear(self):
            async with store.transaction() as tx:
                await tx.execute("delete from applied")

        async def replay(self, span=TOPIC):
            return [progress async for progress in replay(span, self.subscriber, bus)]

    shop = Shop()
    shop.subscriber = subscriber_of(shop.handle)
    return shop


def total(progress, what):
    """Sum over the partitions of what each said last."""
    return sum(getattr(each, what) for each in {each.partition: each for each in progress}.values())


async def test_everything_is_applied_again_once_in_order_per_key(shop):
    await shop.consume(await shop.publish(*"abcab" * 50))
    before = await shop.applied()
    await shop.clear()
    progress = await shop.replay()
    assert sorted(await shop.applied()) == sorted(before)
    for remainder in range(5):
        mine = [n for n in await shop.applied() if n % 5 == remainder]
        assert mine == sorted(mine)
    assert (total(progress, "applied"), total(progress, "parked"), total(progress, "skipped")) == (250, 0, 0)


async def test_progress_comes_after_every_batch_and_says_how_far(shop):
    await shop.publish(*"a" * 250)
    progress = [each for each in await shop.replay() if each.end]
    assert [(each.offset, each.end, each.applied) for each in progress] == [
        (100, 250, 100),
        (200, 250, 200),
        (250, 250, 250),
    ]


async def test_what_was_never_applied_is_applied_and_live_finds_it_so(shop):
    records = await shop.publish("a", "b")
    await shop.replay()
    assert await shop.consume(records) == {"known": 2}
    assert sorted(await shop.applied()) == [0, 1]


async def test_live_positions_do_not_move(shop, bus, until):
    consumer = Consumer(shop.subscriber, bus)
    running = asyncio.create_task(consumer.run())
    await shop.publish(*"abc")

    async def applied(count):
        return len(await shop.applied()) == count

    await until(lambda: applied(3))
    await consumer.stop()
    await running
    positions = await bus.positions()
    await shop.replay()
    assert await bus.positions() == positions
    assert len(await shop.applied()) == 6


async def test_a_range_is_taken_by_offset_partition_type_and_key(shop):
    records = await shop.publish("a", "a", "a", "b")
    [partition, other] = records[0].partition.number, records[3].partition.number
    spans = {
        Range(topic="order.events", start=1): [1, 2],
        Range(topic="order.events", partition=partition, start=1, end=2): [1],
        Range(topic="order.events", partition=other): [3],
        Range(topic="order.events", key="b"): [3],
        Range(topic="order.events", type="Other"): [],
        Range(topic="order.events", type="OrderPlaced", key="a", end=1): [0],
        Range(topic="order.events", start=100, end=200): [],
    }
    for span, numbers in spans.items():
        await shop.clear()
        await shop.replay(span)
        assert sorted(await shop.applied()) == numbers, span


async def test_a_range_is_taken_by_time(shop, clock):
    moments = []
    for n in range(4):
        [record] = await shop.publish("a", n=n)
        moments.append(record.timestamp)
        await clock.advance(10)
    await shop.replay(Range(topic="order.events", since=moments[1], until=moments[3]))
    assert await shop.applied() == [1, 2]


async def test_what_is_published_meanwhile_is_not_part_of_it(shop, bus):
    await shop.publish(*"a" * 150)
    async for progress in replay(TOPIC, shop.subscriber, bus):
        if progress.applied == 100:
            await shop.publish(*"a" * 50, n=150)
    assert await shop.applied() == list(range(150))


async def test_a_duplicate_on_the_wire_is_applied_once(shop, bus):
    [record] = await shop.publish("a")
    await bus.publish([record.message])
    progress = await shop.replay()
    assert await shop.applied() == [0]
    assert total(progress, "skipped") == 1


async def test_only_so_many_ids_are_remembered_for_that(shop, bus, monkeypatch):
    monkeypatch.setattr("micro.bus.replay._REMEMBERED", 2)
    [first, *_] = await shop.publish(*"aaa")
    await bus.publish([first.message])
    await shop.replay(Range(topic="order.events", partition=first.partition.number))
    assert await shop.applied() == [0, 1, 2], "within one batch the inbox knows as well"


async def test_other_types_and_undecodable_bytes_are_skipped(shop, bus, store):
    await shop.publish("a", type="Other")
    await bus.publish([Message("order.events", "a", b"junk")])
    progress = await shop.replay()
    assert total(progress, "skipped") == 2
    assert await store.query("select 1 from micro_parked") == []


async def test_a_subscription_marked_so_is_left_out(subscriber_of, bus, shop):
    calls = []

    async def handle(event, tx):
        calls.append(event)

    await shop.publish("a")
    mail = subscriber_of(handle, name="mail", replay=False)
    progress = [each async for each in replay(TOPIC, mail, bus)]
    assert calls == []
    assert total(progress, "skipped") == 1


async def test_what_fails_is_parked_as_it_would_be_live_and_its_key_waits(shop, store):
    await shop.consume(await shop.publish("a", "a", "b"))
    await shop.clear()
    shop.bad = {0}
    progress = await shop.replay()
    assert await shop.applied() == [2]
    assert (total(progress, "applied"), total(progress, "parked")) == (1, 2)
    rows = await store.query("select attempts from micro_parked order by seq")
    assert [row[0] for row in rows] == [2, 0]


async def test_what_is_parked_already_stays_parked_and_is_applied_by_nobody_else(shop, store):
    shop.bad = {0}
    await shop.consume(await shop.publish("a", "b"))
    await shop.clear()
    shop.bad = frozenset()
    await shop.replay()
    assert await shop.applied() == [1]
    assert len(await store.query("select 1 from micro_parked")) == 1


async def test_interrupted_it_can_be_done_again(shop, store):
    await shop.publish(*"abc")
    whole = shop.subscriber.store
    shop.subscriber.store = FaultyStore(
        store, fail_at("after_handler", StoreUnavailable("disk full"), times=1)
    )
    with pytest.raises(StoreUnavailable):
        await shop.replay()
    shop.subscriber.store = whole
    await shop.clear()
    await shop.replay()
    assert sorted(await shop.applied()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Range(topic="nope"), "the log has no nope"),
        (Range(topic="order.events", partition=12), "the log has no order.events partition 12"),
        (Range(topic="order.events", partition=-1), "the log has no order.events partition -1"),
    ],
)
async def test_a_topic_or_partition_that_is_not_there_is_an_error(shop, span, words):
    await shop.publish("a")
    with pytest.raises(NotFound, match=words):
        await shop.replay(span)
