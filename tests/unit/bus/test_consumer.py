"""From fetched record to committed position."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus.codec import encode
from micro.bus.consumer import BATCH, Consumer
from micro.bus.message import Message, Partition
from micro.bus.origin import Origin
from micro.bus.subscriber import Subscriber
from micro.errors import BusUnavailable, StoreError, StoreUnavailable
from micro.service import Service
from micro.store.ports import StoreFeatures
from micro.testing.faults import FaultyBus, FaultyStore, fail_at


@pytest.fixture
def publish(bus, clock):
    origin = Origin("shop", clock)

    async def publish(*keys, n=0, type="OrderPlaced"):
        return await bus.publish(
            [
                encode(origin.event("order.events", type, {"n": n + index}, key=key))
                for index, key in enumerate(keys)
            ]
        )

    return publish


@pytest.fixture
def seen():
    return []


@pytest.fixture
async def consumer_of(subscriber_of, bus, seen):
    """Consumers that run until the test ends. By default the handler notes the event's number."""
    tasks = []

    async def note(event, tx):
        seen.append(event.data["n"])

    def consumer_of(handle=note, *, bus=bus, store=None, **options):
        subscriber = subscriber_of(handle, **options)
        subscriber.store = store or subscriber.store
        consumer = Consumer(subscriber, bus)
        consumer.task = asyncio.create_task(consumer.run())
        tasks.append(consumer.task)
        return consumer

    yield consumer_of
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def positions(bus):
    return (await bus.positions()).get("crm", {})


async def stop(consumer):
    async with asyncio.timeout(60):
        await consumer.stop()
        await consumer.task


async def test_events_are_handled_and_their_positions_stored(consumer_of, publish, bus, until, seen):
    consumer = consumer_of()
    records = await publish("a", "b", "a")
    await until(lambda: len(seen) == 3)
    assert sorted(seen) == [0, 1, 2]
    assert seen.index(0) < seen.index(2)
    await stop(consumer)
    ends = {}
    for record in records:
        ends[record.partition] = record.offset + 1
    assert await positions(bus) == ends


async def test_positions_are_stored_while_it_runs(consumer_of, publish, bus, until):
    consumer_of()
    [record] = await publish("a")
    await until(lambda: has_position(bus, record))


async def test_what_is_stored_is_not_stored_again(consumer_of, publish, bus, clock, until):
    reached = []
    consumer = consumer_of(bus=FaultyBus(bus, reached.append))
    [record] = await publish("a")
    await until(lambda: has_position(bus, record))
    await clock.advance(0)  # so that the consumer knows, too
    stored = reached.count("before_position")
    await stop(consumer)
    assert reached.count("before_position") == stored


async def has_position(bus, record):
    return await positions(bus) == {record.partition: record.offset + 1}


async def test_what_another_member_has_stored_meanwhile_stays(consumer_of, publish, bus, until):
    """A partition goes away while an event of it is handled, and comes back when others have brought it further."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def handle(event, tx):
        reached.set()
        await go_on.wait()

    consumer = consumer_of(handle)
    records = await publish(*(f"key{number}" for number in range(40)))
    await reached.wait()
    other = await bus.subscribe("crm", ["order.events"])
    further = dict.fromkeys(other.assigned(), 100)
    assert {record.partition for record in records} & further.keys(), "it has some of them in flight"
    assert await other.commit(further) == further
    await other.close()
    go_on.set()
    await until(lambda: consumer.in_flight == 0)
    await stop(consumer)
    assert further.items() <= (await positions(bus)).items()


async def test_events_that_nobody_handles_are_passed_over(consumer_of, publish, bus, until, seen, store):
    consumer = consumer_of()
    [record] = await publish("a", type="Unknown")
    await publish("z", n=1)
    await until(lambda: seen == [1])
    await stop(consumer)
    assert (await positions(bus))[record.partition] == record.offset + 1
    assert len(await store.query("select 1 from micro_inbox")) == 1


async def test_a_backlog_is_applied_in_bounded_batches(consumer_of, publish, seen, until, store):
    await publish(*"a" * 450)
    sizes = []

    class Watched(FaultyStore):
        def transaction(self, **options):
            sizes.append(len(seen))
            return super().transaction(**options)

    consumer_of(store=Watched(store, lambda point: None))
    await until(lambda: len(seen) == 450)
    assert seen == list(range(450))
    assert 5 <= len(sizes) <= 8
    assert max(b - a for a, b in zip(sizes, [*sizes[1:], 450], strict=True)) <= BATCH


async def test_a_hanging_handler_holds_up_its_lane_and_no_other(clock, bus, publish, store, outbox, until):
    """Where the database allows it, lanes are handled side by side."""
    seen, go_on = [], asyncio.Event()

    class Parallel(FaultyStore):
        """Stands for a database with several writers: the transactions themselves don't matter here."""

        def transaction(self, **options):
            return NoTransaction()

    class NoTransaction:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

        async def execute(self, sql, *parameters):
            return 0

        async def query(self, sql, *parameters):
            return [(each,) for each in parameters[1::3]] if "insert" in sql else []

    async def handle(event, tx):
        if event.key == "a":
            await go_on.wait()
        seen.append(event.key)

    parallel = Parallel(store, lambda point: None)
    parallel.features = StoreFeatures(
        concurrent_writers=True, survives_power_loss=True, shared_by_processes=True
    )
    service = Service("crm")
    service.on("OrderPlaced", topic="order.events")(handle)
    consumer = Consumer(Subscriber("crm", service.handlers, store=parallel, outbox=outbox, clock=clock), bus)
    task = asyncio.create_task(consumer.run())
    await publish("a", *[f"key{n}" for n in range(30)])
    await until(lambda: len(seen) >= 25)
    assert "a" not in seen
    go_on.set()
    await until(lambda: len(seen) == 31)
    await consumer.stop()
    await task


async def test_a_partition_with_much_in_flight_is_left_alone_and_taken_up_again(
    consumer_of, publish, until, seen, bus
):
    excluded, gate = [], asyncio.Event()

    async def handle(event, tx):
        await gate.wait()
        seen.append(event.data["n"])

    class Watched(FaultyBus):
        async def subscribe(self, group, topics):
            member = await super().subscribe(group, topics)
            fetch = member.fetch

            async def watched(*, limit, wait, exclude=()):
                excluded.append(set(exclude))
                return await fetch(limit=limit, wait=wait, exclude=exclude)

            member.fetch = watched
            return member

    records = await publish(*"a" * 1500)
    consumer = consumer_of(handle, bus=Watched(bus, lambda point: None))
    await until(lambda: {records[0].partition} in excluded)
    assert consumer.in_flight < 800
    await publish("z", n=5000)
    gate.set()
    await until(lambda: len(seen) == 1501)
    assert [n for n in seen if n < 5000] == list(range(1500))


async def test_stopping_finishes_the_batch_in_hand_and_nothing_more(consumer_of, publish, bus, until):
    handled, reached, go_on = [], asyncio.Event(), asyncio.Event()

    async def handle(event, tx):
        reached.set()
        await go_on.wait()
        handled.append(event.data["n"])

    consumer = consumer_of(handle)
    await publish("a")
    await reached.wait()
    records = await publish(*"a" * 150, n=1)
    await until(lambda: consumer.in_flight == 151)
    stopping = asyncio.create_task(consumer.stop())
    await until(consumer._stopping.is_set)
    go_on.set()
    async with asyncio.timeout(60):
        await stopping
    assert handled == [0]
    assert await positions(bus) == {records[0].partition: 1}


async def test_what_stopping_left_is_handled_by_the_next(consumer_of, publish, until, seen):
    consumer = consumer_of()
    await publish("a")
    await until(lambda: seen == [0])
    await stop(consumer)
    await publish("a", n=1)
    consumer_of()
    await until(lambda: seen == [0, 1])


@pytest.mark.parametrize("turns", range(0, 60, 4))
async def test_cancelled_at_any_moment_nothing_is_lost_or_applied_twice(
    consumer_of, publish, until, store, clock, turns, spelled
):
    async with store.transaction() as tx:
        await tx.script(spelled("create table applied (n integer) strict", store))

    async def handle(event, tx):
        await tx.execute("insert into applied (n) values (?)", event.data["n"])

    await publish(*"abc" * 10)
    consumer = consumer_of(handle)
    for _ in range(turns):
        await clock.sleep(0)
    consumer.task.cancel()
    await asyncio.wait([consumer.task])
    consumer_of(handle)

    async def everything():
        return len(await store.query("select n from applied")) >= 30

    await until(everything)
    assert sorted(row[0] for row in await store.query("select n from applied")) == list(range(30))


async def test_a_bus_that_fails_is_asked_again_and_the_consumer_says_so(
    consumer_of, publish, until, bus, seen
):
    fault = fail_at("after_fetch", BusUnavailable("no coordinator"), times=3)
    consumer = consumer_of(bus=FaultyBus(bus, fault))
    await publish("a")
    await until(lambda: consumer.error == "bus: no coordinator", step=0)
    assert not consumer.consuming
    # Those records were fetched and lost on the way: they come again only from the position, after a restart.
    await publish("a", "a", "a", n=1)
    await until(lambda: consumer.error is None)
    assert consumer.consuming


async def test_a_position_that_cannot_be_stored_is_stored_later(consumer_of, publish, until, bus, seen):
    fault = fail_at("before_position", BusUnavailable("no coordinator"), times=2)
    consumer_of(bus=FaultyBus(bus, fault))
    [record] = await publish("a")
    await until(lambda: has_position(bus, record))
    assert seen == [0]


async def test_stopping_without_a_bus_still_stops(consumer_of, publish, until, bus, seen):
    fault = fail_at("before_position", BusUnavailable("no coordinator"), times=1000)
    consumer = consumer_of(bus=FaultyBus(bus, fault))
    await publish("a")
    await until(lambda: seen == [0])
    await stop(consumer)
    assert await positions(bus) == {}


async def test_a_database_that_fails_is_waited_for(consumer_of, publish, until, store, seen):
    fault = fail_at("after_handler", StoreUnavailable("disk full"), times=4)
    consumer = consumer_of(store=FaultyStore(store, fault))
    await publish("a")
    await until(lambda: consumer.error == "database: disk full", step=0)
    assert not consumer.consuming
    await until(lambda: consumer.error is None)
    assert seen == [0] * 5, "rolled back four times"
    assert await store.query("select 1 from micro_parked") == []


async def test_a_handler_whose_statement_the_server_always_stops_holds_up_its_own_key_only(
    consumer_of, publish, until, store, seen
):
    async def handle(event, tx):
        if event.data["n"] == 1:
            raise StoreUnavailable("the server stopped the statement")
        seen.append(event.data["n"])

    consumer = consumer_of(handle)
    await publish("a", "b", "c", "b")
    await until(lambda: {0, 2} <= set(seen) and consumer.in_flight == 0)
    rows = await store.query("select key, attempts from micro_parked order by seq")
    assert [tuple(row) for row in rows] == [("b", 2), ("b", 0)]
    assert consumer.error is None


async def test_stopping_does_not_wait_for_a_database_that_is_away(consumer_of, publish, until, store):
    fault = fail_at("after_handler", StoreUnavailable("disk full"), times=1000)
    consumer = consumer_of(store=FaultyStore(store, fault))
    await publish("a")
    await until(lambda: consumer.error, step=0)
    await stop(consumer)


async def test_it_is_consuming_from_the_moment_it_has_joined_until_it_stops(consumer_of, until):
    consumer = consumer_of()
    assert not consumer.consuming
    await until(lambda: consumer.consuming)
    await stop(consumer)
    assert not consumer.consuming


async def test_silence_is_not_called_consuming(consumer_of, publish, until, clock, seen):
    consumer = consumer_of()
    await publish("a")
    await until(lambda: seen and consumer.consuming)
    await clock.advance(31)
    assert not consumer.consuming


async def test_stopping_what_never_ran_returns_at_once(subscriber_of, bus):
    async def handle(event, tx):
        raise AssertionError

    consumer = Consumer(subscriber_of(handle), bus)
    async with asyncio.timeout(1):
        await consumer.stop()
        await consumer.run()
    assert consumer.in_flight == 0


async def test_a_failure_that_it_cannot_mend_ends_it_loudly_and_leaves_the_group(
    consumer_of, publish, bus, store
):
    async with store.transaction() as tx:
        await tx.script("drop table micro_inbox")
    consumer = consumer_of()
    await publish("a")
    async with asyncio.timeout(60):
        with pytest.raises(ExceptionGroup) as caught:
            await consumer.task
    assert caught.group_contains(StoreError)
    assert not consumer.consuming
    member = await bus.subscribe("crm", ["order.events"])
    assert len(member.assigned()) == 12


@pytest.mark.parametrize("point", ["after_fetch", "after_handler"])
async def test_a_cancellation_that_nobody_meant_ends_it_loudly(consumer_of, publish, bus, store, point):
    """A task group takes a task that ends so for one that was told to, and would go on deaf."""
    fault = fail_at(point, asyncio.CancelledError())
    consumer = consumer_of(bus=FaultyBus(bus, fault), store=FaultyStore(store, fault))
    await publish("a")
    async with asyncio.timeout(60):
        with pytest.raises(ExceptionGroup) as caught:
            await consumer.task
    assert caught.group_contains(RuntimeError, match="was cancelled by something it waited for")


async def test_undecodable_bytes_do_not_stop_what_follows(consumer_of, publish, bus, until, seen, store):
    consumer_of()
    await bus.publish([Message("order.events", "a", b"\xff junk")])
    await publish("a", n=1)
    await until(lambda: seen == [1])
    [row] = await store.query("select topic, origin_partition, origin_offset from micro_parked")
    assert Partition(row[0], row[1]).topic == "order.events"
    assert row[2] == 0
