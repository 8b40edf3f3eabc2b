"""All of a service's event machinery together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from micro.bus.letters import Letters
from micro.bus.message import Message, Partition
from micro.bus.replay import Range
from micro.errors import BusUnavailable, StoreError, StoreUnavailable
from micro.testing.faults import fail_at


async def test_an_event_reaches_its_subscriber(world, until):
    w = await world()
    w.start()
    await w.emit("a", "b", n=0)
    await until(lambda: arrived(w, 2))
    assert sorted(await w.applied()) == sorted(await w.placed())


async def arrived(w, count):
    return len(await w.applied()) >= count


async def test_draining_finishes_what_is_in_hand_and_empties_the_outbox(world, until):
    w = await world()
    w.start()
    await w.emit(*"abcdef", n=0)
    assert await w.emitting.drain(10)
    assert (await w.emitting.stats())["outbox"]["depth"] == 0
    assert len(await w.on_the_wire()) == 6
    [lease] = await w.shop_store.query("select max(expires_at) from micro_lease")
    assert lease[0] == 0, "another process may go on at once"
    await until(lambda: arrived(w, 6))
    assert await w.consuming.drain(10)
    assert sum((await w.consuming.stats())["lag"].values()) == 0
    assert not (await w.consuming.stats())["consuming"]


async def test_draining_gives_up_in_time_and_loses_nothing(world, until):
    w = await world()
    w.at = fail_at("before_send", BusUnavailable("no broker"), times=1000)
    w.start()
    await w.emit("a", n=0)
    assert not await w.emitting.drain(0.05)
    w = await world()
    w.start()
    await until(lambda: arrived(w, 1))


async def test_it_can_run_again_after_a_drain(world, until):
    w = await world()
    w.start()
    await w.emit("a", n=0)
    await until(lambda: arrived(w, 1))
    assert await w.consuming.drain(10)
    assert await w.emitting.drain(10)
    for run in w._runs:
        run.cancel()
    await asyncio.wait(w._runs)
    w.start()
    await w.emit("a", n=1)
    await until(lambda: arrived(w, 2))


async def test_a_part_that_dies_is_logged_and_started_again_while_the_others_go_on(world, until, caplog):
    w = await world()
    w.at = fail_at("before_send", StoreError("a bug in the relay"), times=2)
    w.start()
    await w.emit("a", n=0)
    await until(lambda: arrived(w, 1))
    loud = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in loud] == ["the relay failed and is started again"] * 2
    assert loud[0].name == "micro.service.shop"
    assert "a bug in the relay" in caplog.text


async def test_the_consumer_is_started_again_too(world, until, caplog):
    w = await world()
    w.at = fail_at("after_fetch", RuntimeError("a bug in the consumer"))
    w.start()
    await w.emit("a", n=0)
    await until(lambda: arrived(w, 1))
    assert "the consumer failed and is started again" in caplog.text


async def test_a_service_without_subscriptions_has_no_consumer(world):
    w = await world()
    assert w.emitting.consumer is None
    stats = await w.emitting.stats()
    assert stats["service"] == "shop"
    assert (stats["consuming"], stats["in_flight"], stats["lag"], stats["error"]) == (False, 0, {}, None)


async def test_stats_tell_what_waits_where(world, until, clock):
    w = await world()
    await w.emit("a", "b", n=0)
    await clock.advance(3)
    stats = await w.emitting.stats()
    assert stats["outbox"] == {"depth": 2, "oldest_age": 3.0}
    w.fails = lambda event: (_ for _ in ()).throw(ValueError("bad")) if event.key == "a" else None
    w.start()
    await until(lambda: arrived(w, 1))

    async def parked():
        return (await w.consuming.stats())["parked"] == 1

    async def settled():
        relay = (await w.emitting.stats())["relay"]
        return (await w.consuming.stats())["in_flight"] == 0 and relay["rate"] > 0

    await until(parked, step=0)
    await until(settled, step=0)
    stats = await w.consuming.stats()
    assert (stats["dead"], stats["in_flight"], stats["consuming"], stats["error"]) == (0, 0, True, None)
    assert set(stats["lag"]) == {f"order.events/{number}" for number in range(12)}
    relay = (await w.emitting.stats())["relay"]
    assert relay["rate"] == pytest.approx(0.2, abs=0.1)
    assert relay["error"] is None


async def test_lag_counts_what_is_published_and_not_done(world):
    w = await world()
    [record] = await w.bus.publish([Message("order.events", "a", b"junk")])
    lag = (await w.consuming.stats())["lag"]
    assert lag[f"order.events/{record.partition.number}"] == 1
    assert sum(lag.values()) == 1


async def test_a_range_is_replayed_through_the_same_handlers(world, until):
    w = await world()
    w.start()
    await w.emit("a", "a", n=0)
    await until(lambda: arrived(w, 2))
    progress = [each async for each in w.consuming.replay(Range(topic="order.events"))]
    assert sum(each.applied for each in progress) == 2
    assert [row[2] for row in await w.applied()] == [0, 1, 0, 1]


async def test_the_inbox_is_purged_while_it_runs(world, until, clock):
    w = await world()
    async with w.crm_store.transaction() as tx:
        await tx.execute("insert into micro_inbox values ('crm', 'old', 0.0)")
    w.start()

    async def gone():
        return not await w.crm_store.query("select 1 from micro_inbox")

    await until(gone)


async def test_what_the_log_still_has_is_not_purged_however_old_it_is(world, until, clock):
    w = await world()
    await w.emit("a", n=0)
    w.start()
    await until(lambda: arrived(w, 1))
    async with w.crm_store.transaction() as tx:
        await tx.execute("insert into micro_inbox values ('crm', 'old', 0.0)")
        await tx.execute("update micro_inbox set handled_at = handled_at - ?", 9 * 86_400.0)
    bounds, read, written = w.bus.bounds, w.bus.read, clock.now().timestamp() - 9 * 86_400.0

    async def read_as_then(*arguments, **options):
        return [replace(each, timestamp=written) for each in await read(*arguments, **options)]

    w.bus.read = read_as_then
    away = iter([BusUnavailable("away")])

    async def away_at_first(*arguments, **options):
        for error in away:
            raise error
        return await bounds(*arguments, **options)

    w.bus.bounds = away_at_first

    async def gone():
        return len(await w.crm_store.query("select 1 from micro_inbox")) == 1

    await until(gone, step=60.0)
    [row] = await w.crm_store.query("select event_id from micro_inbox")
    assert row[0] != "old"


async def test_a_dead_letter_is_on_its_topic_for_tools_outside(world, until):
    w = await world()
    w.start()
    await w.bus.publish([Message("order.events", "a", b"junk")])

    async def copied():
        return "order.events.dlq" in await w.bus.topics()

    await until(copied)
    records = [
        record
        for number in range(12)
        for record in await w.bus.read(Partition("order.events.dlq", number), 0, limit=9)
    ]
    assert [record.message.value for record in records] == [b"junk"]
    assert [letter["error"]["type"] for letter in await w.consuming.parking.list(Letters())] == [
        "DecodeError"
    ]


async def test_a_full_disk_on_either_side_loses_nothing(world, until):
    """F10: the journal, the outbox's file and the inbox's file fail in turn, each for a while."""
    w = await world()
    w.start()
    for n, point in enumerate(["before_append", "before_mark", "after_handler"] * 2):
        w.at = fail_at(point, StoreUnavailable("disk full"), times=3)
        await w.emit("a", "b", n=2 * n)
        await until(lambda n=n: arrived(w, 2 * n + 2))
    applied = await w.applied()
    assert len(applied) == 12
    for key in "ab":
        numbers = [row[2] for row in applied if row[1] == key]
        assert numbers == sorted(numbers)


async def test_cancelling_leaves_no_task_behind(world):
    w = await world()
    before = asyncio.all_tasks()
    w.start()
    await w.emit("a", n=0)
    await w.close()
    assert asyncio.all_tasks() <= before
