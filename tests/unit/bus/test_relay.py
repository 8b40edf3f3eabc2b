"""Rows of the outbox go to the bus in order, and are deleted once it has them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from micro.bus.codec import decode
from micro.bus.message import Message
from micro.bus.outbox import Outbox, bucket_of
from micro.bus.relay import Relay
from micro.errors import BusUnavailable, EventTooLarge, PublishFailed, StoreUnavailable, TransactionTimeout
from micro.store.ports import StoreFeatures
from micro.testing.faults import FaultyBus, FaultyStore, fail_at


class Sink:
    """A bus that notes what it is given; `answer` may raise, or take a part."""

    def __init__(self, features):
        self.features = features
        self.taken = []
        self.calls = 0
        self.answer = lambda messages: None

    async def publish(self, messages):
        self.calls += 1
        await asyncio.sleep(0)  # noqa: TID251 - no time passes: a bus gives way
        try:
            self.answer(messages)
        except PublishFailed as error:
            self.taken += [messages[index] for index in sorted(error.acknowledged)]
            raise
        self.taken += messages

    def seen(self, key=None):
        return [decode(m).data["n"] for m in self.taken if key in {None, m.key}]


@pytest.fixture
def sink(bus):
    return Sink(bus.features)


@pytest.fixture
async def relay_of(store, sink, outbox, clock):
    """Relays that run until the test ends."""
    tasks = []

    def relay_of(*, store=store, bus=sink, owner="me"):
        relay = Relay(store, bus, outbox=outbox, clock=clock, owner=owner)
        tasks.append(asyncio.create_task(relay.run()))
        relay.task = tasks[-1]
        return relay

    yield relay_of
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def depth(store):
    return (await store.query("select count(*) from micro_outbox"))[0][0]


async def depth_is(store, rows):
    return await depth(store) == rows


async def test_committed_events_are_sent_in_order_and_their_rows_deleted(relay_of, sink, emit, store):
    relay = relay_of()
    await emit(*[f"key{n % 7}" for n in range(250)])
    async with asyncio.timeout(60):
        await relay.drained()
    assert sink.seen() == list(range(250))
    assert await depth(store) == 0
    assert relay.error is None


async def test_of_large_events_it_holds_few_at_a_time(
    relay_of, sink, store, outbox, placed, emit, monkeypatch
):
    monkeypatch.setattr("micro.bus.relay._BYTES", 1000)
    sizes = []
    sink.answer = lambda messages: sizes.append(sum(len(each.value) for each in messages))
    async with store.transaction() as tx:
        for n in range(20):
            outbox.add_message(tx, Message("order.events", f"key{n}", b"x" * (5000 if n == 7 else 300)))
    await relay_of().drained()
    assert sizes == [1200, 300 * 3 + 5000, *[1200] * 3]
    assert await depth(store) == 0


async def test_events_committed_before_the_start_are_sent(relay_of, sink, emit):
    await emit("a", "b")
    async with asyncio.timeout(60):
        await relay_of().drained()
    assert sink.seen() == [0, 1]


async def test_a_commit_that_nobody_announced_is_found_by_polling(
    relay_of, sink, store, outbox, placed, until
):
    relay = relay_of()
    await relay.drained()
    async with store.transaction() as tx:
        outbox.add(tx, placed(n=5), "a")
    assert not outbox.committed.is_set()
    await until(lambda: sink.seen() == [5])


async def test_when_the_bus_is_away_nothing_is_lost_and_it_is_asked_ever_less(
    relay_of, sink, emit, until, clock, store
):
    def refuse(messages):
        raise BusUnavailable("no broker")

    sink.answer = refuse
    relay = relay_of()
    await emit("a", "b")
    await until(lambda: relay.error == "no broker")
    await until(lambda: sink.calls == 15)
    assert clock.monotonic() > 5, "a tenth of a second each time would be 1.5"
    assert await depth(store) == 2
    sink.answer = lambda messages: None
    await until(lambda: sink.seen() == [0, 1])
    await until(lambda: relay.error is None)


async def test_what_was_not_acknowledged_is_sent_again_before_anything_later_of_its_key(
    relay_of, sink, emit, until
):
    failures = iter(range(3))

    def lose_b(messages):
        for number in failures:
            lost = {i for i, m in enumerate(messages) if m.key == "b"}
            raise PublishFailed(f"no leader {number}", acknowledged=frozenset(range(len(messages))) - lost)

    sink.answer = lose_b
    relay_of()
    await emit("a", "b", "b", "a", "b")
    await emit("b", "a", n=5)
    await until(lambda: len(sink.seen()) == 7)
    assert sink.seen("a") == [0, 3, 6]
    assert sink.seen("b") == [1, 2, 4, 5]


async def test_other_keys_go_on_while_one_is_stuck(relay_of, sink, emit, until, clock):
    def lose_b(messages):
        lost = {i for i, m in enumerate(messages) if m.key == "b"}
        if lost:
            raise PublishFailed("no leader", acknowledged=frozenset(range(len(messages))) - lost)

    sink.answer = lose_b
    relay = relay_of()
    await emit(*"b" * 150)
    await emit(*"a" * 300, n=150)
    await until(lambda: len(sink.seen("a")) == 300)
    assert sink.seen("b") == []
    assert relay.error == "no leader"
    sink.answer = lambda messages: None
    await until(lambda: len(sink.seen("b")) == 150)
    assert sink.seen("b") == list(range(150))


async def test_an_event_larger_than_the_bus_takes_stops_its_bucket_and_is_told(
    relay_of, sink, emit, until, store, caplog
):
    """It was within the limit when it was emitted; another bus has another limit."""
    await emit("b", "a")
    async with store.transaction() as tx:
        [row] = await tx.query("select topic, headers, created_at from micro_outbox limit 1")
        await tx.execute(
            "insert into micro_outbox (bucket, key, value, topic, headers, created_at) values (?, 'big', ?, ?, ?, ?)",
            bucket_of("big"),
            bytes(sink.features.max_bytes + 1),
            *row,
        )
    await emit("a", "big", n=2)
    relay = relay_of()
    await until(lambda: sink.seen() == [0, 1, 2])
    await until(lambda: relay.error)
    assert "larger than the 1,032,192 bytes" in relay.error
    await until(lambda: depth_is(store, 2))
    assert any(record.levelno == logging.WARNING for record in caplog.records)


async def test_when_every_bucket_rests_nothing_is_asked_of_the_bus(relay_of, sink, emit, until, store, clock):
    keys = {bucket_of(f"key{n}"): f"key{n}" for n in range(2000)}

    def lose_all(messages):
        raise PublishFailed("no leader", acknowledged=frozenset())

    sink.answer = lose_all
    relay = relay_of()
    await emit(*keys.values())
    await until(lambda: sink.calls == 1, step=0)
    await until(lambda: len(relay._resting) == 64, step=0)
    sink.answer = lambda messages: None
    await until(lambda: len(sink.seen()) == 64)
    assert sorted(sink.seen()) == list(range(64))


async def test_an_event_too_large_alone_in_the_outbox_is_not_offered(relay_of, sink, emit, until, store):
    await emit("big")
    async with store.transaction() as tx:
        await tx.execute("update micro_outbox set value = ?", bytes(sink.features.max_bytes + 1))
    relay = relay_of()
    await until(lambda: relay.error)
    assert sink.calls == 0


async def test_a_row_of_a_transaction_that_commits_late_is_not_passed_over(
    relay_of, sink, emit, store, until
):
    """Numbers are given before the commit; only a cursor would skip those that appear behind it."""
    await emit("a", "b", "c")
    async with store.transaction() as tx:
        row = (await tx.query("delete from micro_outbox where key = 'a' returning *"))[0]
    relay = relay_of()
    await relay.drained()
    assert sink.seen() == [1, 2]
    async with store.transaction() as tx:
        insert = "insert into micro_outbox values (?, ?, ?, ?, ?, ?, ?)"
        own_number = insert.replace("values", "overriding system value values")
        await tx.execute(own_number if store.dialect == "postgresql" else insert, *row)
    await until(lambda: sink.seen() == [1, 2, 0])


async def test_a_row_is_deleted_after_the_acknowledgement_never_before(relay_of, store, bus, emit):
    depths = []

    async def look(point):
        if point in {"before_send", "after_acknowledge"}:
            depths.append(await depth(store))

    relay = relay_of(bus=FaultyBus(bus, look))
    await emit("a")
    await relay.drained()
    assert depths == [1, 1]


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), TransactionTimeout("slow")], ids=type)
async def test_a_deletion_that_fails_sends_again_and_loses_nothing(relay_of, store, sink, emit, until, error):
    relay = relay_of(store=FaultyStore(store, fail_at("before_mark", error, times=2)))
    await emit("a", "b")
    await until(lambda: relay.error is None and relay.rate > 0)
    assert sink.seen() == [0, 1] * 3
    assert await depth(store) == 0


async def test_what_it_cannot_mend_ends_it_loudly(relay_of, sink, emit):
    def refuse(messages):
        raise EventTooLarge("a bug")

    sink.answer = refuse
    relay = relay_of()
    await emit("a")
    with pytest.raises(ExceptionGroup) as caught:
        await relay.task
    assert caught.group_contains(EventTooLarge)


async def test_cancelled_at_any_moment_the_next_relay_goes_on(relay_of, sink, emit, clock):
    for n in range(20):
        await emit("a", n=n)
        relay = relay_of()
        for _ in range(n):
            await clock.sleep(0)
        relay.task.cancel()
        await asyncio.wait([relay.task])
    await relay_of().drained()
    first = list(dict.fromkeys(sink.seen()))
    assert first == list(range(20)), "first deliveries are in order"


async def test_a_zombie_deletes_nothing_that_another_has_taken_over(
    relay_of, store, sink, emit, until, clock
):
    """F3, F12: it sent while its lease ran out. Its delete is refused, the new owner sends the row again."""
    shared = FaultyStore(store, lambda point: None)
    shared.features = StoreFeatures(
        concurrent_writers=True, survives_power_loss=True, shared_by_processes=True
    )
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def stop(point):
        if point == "after_send" and not reached.is_set():
            reached.set()
            await go_on.wait()

    class Pass:
        """What the zombie sends counts too."""

        features = sink.features
        publish = staticmethod(sink.publish)

    zombie = relay_of(store=shared, bus=FaultyBus(Pass, stop), owner="zombie")
    await emit("a")
    await reached.wait()
    await clock.advance(20)
    heir = relay_of(store=shared, owner="heir")
    await until(lambda: sink.seen() == [0, 0])
    await heir.drained()
    await emit("a", n=1)
    await until(lambda: sink.seen() == [0, 0, 1])
    go_on.set()
    await until(lambda: zombie.rate > 0, step=0)
    await clock.advance(3)
    await emit("a", n=2)
    await until(lambda: sink.seen() == [0, 0, 1, 2])
    await until(lambda: depth_is(store, 0))


async def test_the_delete_of_one_that_lost_its_lease_is_refused_and_it_learns_so(
    relay_of, store, sink, emit, until, bus, clock
):
    sent = []

    async def steal(point):
        if point == "after_send":
            sent.append(point)
            if len(sent) == 1:
                async with store.transaction() as tx:
                    ends = clock.now().timestamp() + 15
                    await tx.execute(
                        "update micro_lease set owner = 'heir', token = token + 1, expires_at = ?", ends
                    )

    relay = relay_of(bus=FaultyBus(bus, steal))
    await emit("a")
    await until(lambda: sent and relay._lease.held == frozenset(), step=0)
    await clock.advance(3)
    assert len(sent) == 1, "it knows at once, not when it would have renewed"
    assert await depth(store) == 1, "the new owner will send it, and delete it"
    async with store.transaction() as tx:
        await tx.execute("update micro_lease set expires_at = 0.0")
    await until(lambda: depth_is(store, 0))


async def test_what_another_relay_sent_before_it_lost_its_lease_is_not_sent_again(
    relay_of, store, sink, emit, clock, until
):
    """Between our look at the table and our claim, the former owner may have finished."""

    class LateOwner(FaultyStore):
        def transaction(self, **options):
            if options.get("exclusive"):
                return Finishing(super().transaction(**options))
            return super().transaction(**options)

    class Finishing:
        def __init__(self, claim):
            self.claim = claim

        async def __aenter__(self):
            async with store.transaction() as tx:
                await tx.execute("delete from micro_outbox where key = 'sent'")
            return await self.claim.__aenter__()

        async def __aexit__(self, *error):
            return await self.claim.__aexit__(*error)

    await emit("sent", "left")
    relay_of(store=LateOwner(store, lambda point: None))
    await until(lambda: sink.seen("left") == [1])
    assert sink.seen("sent") == []


async def test_two_relays_of_one_database_send_each_event_once(relay_of, store, sink, emit, until, clock):
    shared = FaultyStore(store, lambda point: None)
    shared.features = StoreFeatures(
        concurrent_writers=True, survives_power_loss=True, shared_by_processes=True
    )
    for owner in "ab":
        relay_of(store=shared, owner=owner)
    for n in range(30):
        await emit(f"key{n}", n=n)
        await until(lambda n=n: n in sink.seen())
    assert sorted(sink.seen()) == list(range(30))


async def test_an_idle_relay_writes_nothing(relay_of, store, clock, until):
    writes = []
    watched = FaultyStore(store, writes.append)
    begun = watched.transaction

    def transaction(**options):
        writes.append("transaction")
        return begun(**options)

    watched.transaction = transaction
    relay = relay_of(store=watched)
    await relay.drained()
    await clock.advance(120)
    assert writes == []


async def test_a_busy_relay_renews_its_lease_every_few_seconds_only(
    relay_of, store, emit, sink, clock, until
):
    claims = []

    class Watched(FaultyStore):
        def transaction(self, **options):
            claims.append(clock.monotonic())
            return super().transaction(**options)

    relay_of(store=Watched(store, lambda point: None))
    for n in range(40):
        await emit("a", n=n)
        await until(lambda n=n: n in sink.seen(), step=0.01)
        await clock.advance(0.5)
    assert len(claims) <= 40 + 8, "a delete each, and a renewal every five seconds"


async def test_it_is_drained_of_what_was_there_though_others_go_on_writing(
    relay_of, sink, store, outbox, placed, emit
):
    """Or an instance that others write beside could never leave in time."""
    await emit("a", "b")

    def another(messages):
        async def write():
            async with store.transaction() as tx:
                outbox.add(tx, placed(n=sink.calls), "a")

        writing.append(asyncio.ensure_future(write()))

    writing = []
    sink.answer = another
    relay = relay_of()
    async with asyncio.timeout(60):
        await relay.drained()
    sink.answer = lambda messages: None
    assert sink.seen()[:2] == [0, 1]
    await asyncio.gather(*writing)


async def test_what_is_another_relay_s_is_not_waited_for(relay_of, sink, emit, store, clock):
    shared = FaultyStore(store, lambda point: None)
    shared.features = StoreFeatures(
        concurrent_writers=True, survives_power_loss=True, shared_by_processes=True
    )
    async with store.transaction() as tx:
        until = clock.now().timestamp() + 15
        await tx.execute("update micro_lease set owner = 'b', token = 1, expires_at = ?", until)
    await emit("a")
    async with asyncio.timeout(60):
        await relay_of(store=shared).drained()
    assert sink.seen() == []


async def test_released_it_sends_no_more_until_it_runs_again(relay_of, sink, emit, store, clock, until):
    relay = relay_of()
    await emit("a")
    await relay.drained()
    await relay.release()
    await emit("a", n=1)
    for _ in range(5):
        await clock.advance(1)
    assert sink.seen() == [0]
    [row] = await store.query("select max(expires_at) from micro_lease")
    assert row[0] == 0, "and claims nothing"
    relay.task.cancel()
    await asyncio.wait([relay.task])
    relay.task = asyncio.create_task(relay.run())
    await until(lambda: sink.seen() == [0, 1])


async def test_a_database_that_is_away_does_not_keep_it_from_leaving(relay_of, emit, store, caplog):
    relay = relay_of()
    await emit("a")
    await relay.drained()
    await store.close()
    await relay.release()
    assert "another relay goes on a little later" in caplog.text


async def test_released_buckets_are_free(relay_of, store, emit):
    relay = relay_of()
    await emit("a")
    await relay.drained()
    await relay.release()
    [row] = await store.query("select max(expires_at) from micro_lease")
    assert row[0] == 0


async def test_the_rate_is_that_of_the_last_ten_seconds(relay_of, emit, until, clock):
    relay = relay_of()
    await emit(*"abcdefghij")
    await until(lambda: relay.rate > 0, step=0.0)
    assert relay.rate == pytest.approx(1.0)
    await clock.advance(11)
    assert relay.rate == 0


async def test_the_outbox_says_whose_it_is(clock):
    assert Outbox("shop", clock=clock, max_bytes=1, publishes=[]).source == "shop"
