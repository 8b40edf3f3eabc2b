"""A batch is applied in one transaction; what fails is parked, and its key waits behind it."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus.codec import encode
from micro.bus.delivery import Delivery
from micro.bus.intake import Intake
from micro.bus.message import Message, Partition, Record
from micro.bus.origin import Origin
from micro.bus.outbox import unpack_headers
from micro.context import current
from micro.errors import StoreUnavailable
from micro.service import Resources, Retry
from micro.testing.faults import FaultyStore, fail_at

PART = Partition("order.events", 3)


@pytest.fixture
def deliver(clock):
    """Deliveries with the keys given, numbered in data and by offset."""
    origin = Origin("shop", clock)
    offsets = iter(range(1000))

    def deliver(*keys, type="OrderPlaced"):
        made = []
        for key in keys:
            offset = next(offsets)
            event = origin.event("order.events", type, {"n": offset}, key=key)
            made.append(Delivery.of(Record(PART, offset, encode(event), 0.0)))
        return made

    return deliver


@pytest.fixture
async def table(store, spelled):
    async with store.transaction() as tx:
        await tx.script(spelled("create table applied (seq integer primary key, n integer) strict", store))


async def applied(store):
    return [row[0] for row in await store.query("select n from applied order by seq")]


async def parked(store):
    rows = await store.query("select origin_offset, attempts, next_attempt_at from micro_parked order by seq")
    return [tuple(row) for row in rows]


async def note(event, tx):
    await tx.execute("insert into applied (n) values (?)", event.data["n"])


def failing_on(*bad, error=None):
    async def handle(event, tx):
        await note(event, tx)
        if event.data["n"] in bad:
            raise error or ValueError("bad")

    return handle


pytestmark = pytest.mark.usefixtures("table")


async def test_a_batch_is_one_transaction(store, subscriber_of, deliver):
    commits = []
    watched = FaultyStore(store, commits.append)
    subscriber = subscriber_of(note)
    subscriber.store = watched
    assert await Intake(subscriber).take(deliver("a", "b", "a")) == {"applied": 3}
    assert await applied(store) == [0, 1, 2]
    assert commits == ["after_handler", "after_inbox_commit"]


async def test_what_was_applied_is_not_applied_again(store, subscriber_of, deliver):
    intake, batch = Intake(subscriber_of(note)), deliver("a", "b")
    await intake.take(batch)
    assert await intake.take([*batch, *deliver("c")]) == {"known": 2, "applied": 1}
    assert await applied(store) == [0, 1, 2]


async def test_a_duplicate_within_a_batch_is_applied_once(store, subscriber_of, deliver):
    [one] = deliver("a")
    assert await Intake(subscriber_of(note)).take([one, one]) == {"applied": 1, "known": 1}
    assert await applied(store) == [0]


async def test_a_failing_event_is_parked_and_the_rest_of_its_batch_applied(
    store, subscriber_of, deliver, clock
):
    tally = await Intake(subscriber_of(failing_on(1))).take(deliver("a", "b", "c"))
    assert tally == {"applied": 2, "parked": 1}
    assert await applied(store) == [0, 2]
    [(offset, attempts, due)] = await parked(store)
    assert (offset, attempts) == (1, 2)
    assert 0 <= due - clock.now().timestamp() < 4.0, "base 0.5 s, doubled for each attempt, full jitter"


async def test_a_failing_event_does_not_part_those_before_it_nor_those_behind_it(
    store, subscriber_of, deliver
):
    commits = []
    subscriber = subscriber_of(failing_on(30, 60))
    subscriber.store = FaultyStore(store, commits.append)
    tally = await Intake(subscriber).take(deliver(*[f"key{n}" for n in range(100)]))
    assert tally == {"applied": 98, "parked": 2}
    assert await applied(store) == [n for n in range(100) if n not in {30, 60}]
    assert commits.count("after_inbox_commit") == 5, "before, it, between, it, behind"


async def test_a_batch_of_slow_handlers_is_applied_a_second_s_worth_at_a_time(
    store, subscriber_of, deliver, clock
):
    commits = []

    async def handle(event, tx):
        await note(event, tx)
        await clock.advance(0.4)

    subscriber = subscriber_of(handle)
    subscriber.store = FaultyStore(store, commits.append)
    assert await Intake(subscriber).take(deliver(*"abcdefgh")) == {"applied": 8}
    assert await applied(store) == list(range(8)), "each once"
    assert commits.count("after_inbox_commit") == 3, "three, three, two"


async def test_a_second_s_worth_may_end_before_nothing_but_duplicates(store, subscriber_of, deliver, clock):
    called = []

    async def handle(event, tx):
        called.append(event.data["n"])
        await note(event, tx)
        await clock.advance(0.6)

    first, second = deliver("a", "b")
    tally = await Intake(subscriber_of(handle)).take([first, second, first, second])
    assert tally == {"applied": 2, "known": 2}
    assert called == [0, 1], "nothing was rolled back and done again"


async def test_later_events_of_a_parked_key_wait_behind_it_in_order(store, subscriber_of, deliver):
    intake = Intake(subscriber_of(failing_on(0)))
    assert await intake.take(deliver("a", "a", "b")) == {"parked": 2, "applied": 1}
    assert await intake.take(deliver("b", "a")) == {"applied": 1, "parked": 1}
    assert await applied(store) == [2, 3]
    rows = await parked(store)
    assert [row[0] for row in rows] == [0, 1, 4]
    assert [row[1] for row in rows] == [2, 0, 0]
    assert [row[2] is None for row in rows] == [False, True, True]
    held = await store.query("select count(*) from micro_inbox where handled_at is null")
    assert held[0][0] == 3, "taken over, not applied"


async def test_a_parked_event_that_is_delivered_again_is_not_parked_twice(store, subscriber_of, deliver):
    intake, batch = Intake(subscriber_of(failing_on(0))), deliver("a", "a")
    await intake.take(batch)
    assert await intake.take(batch) == {"known": 2}
    assert len(await parked(store)) == 2


async def test_a_failure_that_passes_is_not_parked(store, subscriber_of, deliver):
    calls = []

    async def handle(event, tx):
        calls.append(event.data["n"])
        if len(calls) == 1:
            raise ValueError("once")
        await note(event, tx)

    assert await Intake(subscriber_of(handle)).take(deliver("a")) == {"applied": 1}
    assert calls == [0, 0]
    assert await applied(store) == [0]


@pytest.mark.parametrize(("attempts", "calls"), [(1, 1), (2, 2), (8, 2)])
async def test_an_event_is_tried_at_most_twice_before_it_is_parked(
    subscriber_of, deliver, attempts, calls, store
):
    seen = []

    async def handle(event, tx):
        seen.append(event)
        raise ValueError("always")

    await Intake(subscriber_of(handle, retry=Retry(attempts=attempts))).take(deliver("a"))
    assert len(seen) == calls
    [(_, tried, due)] = await parked(store)
    assert tried == calls
    assert (due is None) == (attempts <= 2), "a dead letter has no next attempt"


async def test_a_dead_letter_is_copied_to_its_topic_in_the_same_transaction(
    store, subscriber_of, deliver, outbox
):
    [one] = deliver("a")
    await Intake(subscriber_of(failing_on(0), retry=Retry(attempts=2))).take([one])
    [row] = await store.query("select topic, key, value, headers from micro_outbox")
    assert (row[0], row[1], row[2]) == ("order.events.dlq", "a", one.record.message.value)
    headers = dict(unpack_headers(row[3]))
    assert headers["dlq_exception_type"] == b"ValueError"
    assert headers["dlq_attempts"] == b"2"
    assert outbox.committed.is_set(), "the relay is woken"


async def test_bytes_that_are_no_event_are_dead_at_once_and_block_nobody(store, subscriber_of, deliver):
    junk = Delivery.of(Record(PART, 900, Message("order.events", "a", b"junk"), 0.0))
    intake = Intake(subscriber_of(note))
    assert await intake.take([junk, *deliver("a")]) == {"parked": 1, "applied": 1}
    assert await intake.take([junk]) == {"known": 1}
    [row] = await store.query(
        "select event_id, type, attempts, next_attempt_at, error_type, value from micro_parked"
    )
    assert tuple(row) == ("order.events:3:900", None, 1, None, "DecodeError", b"junk")
    assert await applied(store) == [0]
    [copy] = await store.query("select topic from micro_outbox")
    assert copy[0] == "order.events.dlq"


async def test_a_dead_letter_of_a_dead_letter_topic_is_not_copied_on(store, subscriber_of):
    junk = Delivery.of(
        Record(Partition("order.events.dlq", 0), 1, Message("order.events.dlq", "a", b"junk"), 0.0)
    )
    await Intake(subscriber_of(note)).take([junk])
    assert len(await parked(store)) == 1
    assert await store.query("select 1 from micro_outbox") == []


async def test_a_dead_letter_too_large_for_the_outbox_is_kept_without_a_copy(store, subscriber_of):
    junk = Delivery.of(Record(PART, 1, Message("order.events", "a", b"x" * 1_000_001), 0.0))
    await Intake(subscriber_of(note)).take([junk])
    assert len(await parked(store)) == 1
    assert await store.query("select 1 from micro_outbox") == []


async def test_a_dead_letter_whose_key_and_headers_are_too_large_is_kept_without_a_copy(store, subscriber_of):
    """The bus would refuse it, time and again, and whatever is behind it in the outbox would wait."""
    for offset, size in enumerate((1_000_000, 1_020_000)):
        headers = (("baggage", b"x" * (size - 1_000_000)),)
        message = Message("order.events", "a", b"x" * 1_000_000, headers)
        await Intake(subscriber_of(note)).take([Delivery.of(Record(PART, offset, message, 0.0))])
    assert len(await parked(store)) == 2
    assert len(await store.query("select 1 from micro_outbox")) == 1


@pytest.mark.parametrize("junk", [True, False])
async def test_a_key_that_no_database_takes_is_no_reason_to_lose_the_dead_letter(
    store, subscriber_of, deliver, junk
):
    """Kafka's keys are bytes, and a database takes no NUL in a text."""
    [sent] = deliver("a")
    value = b"junk" if junk else sent.record.message.value
    one = Delivery.of(Record(PART, 7, Message("order.events", "x\0y", value), 0.0))
    intake = Intake(subscriber_of(failing_on(0), retry=Retry(attempts=2)))
    assert await intake.take([one, *deliver("b")]) == {"parked": 1, "applied": 1}
    [(_, _, due)] = await parked(store)
    assert due is None
    [copy] = await store.query("select key, value from micro_outbox")
    assert tuple(copy) == ("x\ufffdy", value)


async def test_when_the_database_is_away_no_event_is_blamed(store, subscriber_of, deliver):
    subscriber, batch = subscriber_of(note), deliver("a", "b")
    subscriber.store = FaultyStore(store, fail_at("after_handler", StoreUnavailable("disk full"), times=2))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await Intake(subscriber).take(batch)
    assert await parked(store) == []
    assert await Intake(subscriber).take(batch) == {"applied": 2}
    assert await applied(store) == [0, 1]


async def test_a_handler_that_meets_an_unavailable_database_is_not_blamed(store, subscriber_of, deliver):
    with pytest.raises(StoreUnavailable):
        await Intake(subscriber_of(failing_on(0, error=StoreUnavailable("locked")))).take(deliver("a"))
    assert await parked(store) == []


async def test_in_the_end_it_is_or_its_lane_would_stand_still_for_ever(store, subscriber_of, deliver):
    handler = failing_on(1, error=StoreUnavailable("the server stopped the statement"))
    tally = await Intake(subscriber_of(handler)).take(deliver("a", "b", "c"), blame=True)
    assert tally == {"applied": 2, "parked": 1}
    assert await applied(store) == [0, 2]


async def test_what_is_no_handler_s_is_never_blamed(store, subscriber_of, deliver):
    subscriber = subscriber_of(note)
    subscriber.store = FaultyStore(store, fail_at("after_handler", StoreUnavailable("disk full")))
    with pytest.raises(StoreUnavailable):
        await Intake(subscriber).take(deliver("a"), blame=True)
    assert await parked(store) == []


async def test_a_database_that_goes_away_among_the_single_events_stops_there(store, subscriber_of, deliver):
    subscriber, batch = subscriber_of(failing_on(0)), deliver("a", "b", "c")
    visits = []

    def at(point):
        visits.append(point)
        if visits.count("after_handler") == 2:
            raise StoreUnavailable("disk full")

    subscriber.store = FaultyStore(store, at)
    with pytest.raises(StoreUnavailable):
        await Intake(subscriber).take(batch)
    subscriber.store = store
    assert await Intake(subscriber).take(batch) == {"known": 1, "applied": 2}
    assert await applied(store) == [1, 2]


async def test_a_batch_that_takes_too_long_together_is_taken_apart(
    store, subscriber_of, deliver, monkeypatch
):
    monkeypatch.setattr("micro.bus.subscriber._ROOM", -3.0)
    together = []

    async def handle(event, tx):
        await note(event, tx)
        if tx in together:
            await asyncio.Event().wait()
        together.append(tx)

    intake = Intake(subscriber_of(handle, time_limit=4.0))  # 1 s for a transaction
    assert await intake.take(deliver(*"abcdef")) == {"applied": 6}
    assert await applied(store) == [0, 1, 2, 3, 4, 5]


async def test_waiting_too_long_for_a_transaction_blames_the_database(store, subscriber_of, deliver):
    subscriber = subscriber_of(note, time_limit=-4.9)  # 0.1 s for a transaction
    most = 4 if store.features.concurrent_writers else 1  # as many as there are connections that write
    held, go_on = asyncio.Barrier(most + 1), asyncio.Event()

    async def hold():
        async with store.transaction() as tx:
            await tx.execute("insert into applied (n) values (99)")
            await held.wait()
            await go_on.wait()

    holders = asyncio.gather(*(hold() for _ in range(most)))
    await held.wait()
    with pytest.raises(StoreUnavailable, match="no transaction could begin"):
        await Intake(subscriber).take(deliver("a"))
    go_on.set()
    await holders


async def test_a_commit_that_fails_counts_against_each_event_alone(store, subscriber_of, deliver, spelled):
    """A deferred constraint fails at the commit, when nobody knows whose row it was."""
    async with store.transaction() as tx:
        tables = (
            "create table parent (id integer primary key) strict;"
            "create table child (id integer references parent (id) deferrable initially deferred) strict;"
        )
        await tx.script(spelled(tables, store))

    async def handle(event, tx):
        await note(event, tx)
        if event.data["n"] == 1:
            await tx.execute("insert into child (id) values (404)")

    assert await Intake(subscriber_of(handle)).take(deliver("a", "b", "c")) == {"applied": 2, "parked": 1}
    assert await applied(store) == [0, 2]
    [row] = await store.query("select error_type from micro_parked")
    assert row[0] == "ConstraintViolation"


async def test_a_handler_that_takes_too_long_is_stopped_and_its_event_parked(store, subscriber_of, deliver):
    async def handle(event, tx):
        await note(event, tx)
        if event.data["n"] == 0:
            await asyncio.Event().wait()

    intake = Intake(subscriber_of(handle, time_limit=0.5))
    assert await intake.take(deliver("a", "b")) == {"parked": 1, "applied": 1}
    [row] = await store.query("select error_type, error_message from micro_parked")
    assert tuple(row) == ("TimeoutError", "the handler took longer than 0.5 s")
    assert await applied(store) == [1]


async def test_a_time_out_of_the_handlers_own_keeps_its_words(store, subscriber_of, deliver):
    await Intake(subscriber_of(failing_on(0, error=TimeoutError("the printer")))).take(deliver("a"))
    [row] = await store.query("select error_message from micro_parked")
    assert row[0] == "the printer"


async def test_a_handler_cancelled_by_what_it_waits_for_fails_like_any_other(store, subscriber_of, deliver):
    """Taken for a cancellation of the consumer, it would end the worker without a word."""

    async def handle(event, tx):
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    await Intake(subscriber_of(handle)).take(deliver("a"))
    [row] = await store.query("select error_type, error_message from micro_parked")
    assert tuple(row) == ("RuntimeError", "the handler was cancelled by something it waited for")


async def test_cancelling_the_intake_rolls_everything_back(store, subscriber_of, deliver):
    reached = asyncio.Event()

    async def handle(event, tx):
        await note(event, tx)
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Intake(subscriber_of(handle)).take(deliver("a")))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await applied(store) == []
    assert await store.query("select 1 from micro_inbox") == []


async def test_a_handler_runs_in_the_context_of_its_event(subscriber_of, deliver):
    seen = []

    async def handle(event, tx):
        seen.append((event, current.get()))

    await Intake(subscriber_of(handle)).take(deliver("a"))
    [(event, context)] = seen
    assert context.correlation_id == event.correlation_id
    assert context.causation_id == event.id
    assert context.traceparent[:36] == event.traceparent[:36]
    assert context.traceparent != event.traceparent
    assert context.request_id is None
    assert current.get() is None


async def test_what_a_handler_emits_commits_with_it_and_names_its_cause(
    store, subscriber_of, deliver, placed, outbox
):
    async def handle(event, tx):
        tx.emit(placed(n=100), key="next")

    [one] = deliver("a")
    await Intake(subscriber_of(handle)).take([one])
    [row] = await store.query("select value from micro_outbox")
    assert f'"causationid":"{one.id}"'.encode() in row[0]
    assert outbox.committed.is_set()


async def test_calling_another_service_from_a_handler_is_refused(store, subscriber_of, deliver, clock):
    resources = Resources(name="crm", clock=clock, cache=None, env={}, verifier=None, caller=None)

    async def handle(event, tx):
        await resources.call("user", "GET", "/users/1")

    await Intake(subscriber_of(handle)).take(deliver("a"))
    [row] = await store.query("select error_type, error_message from micro_parked")
    assert row[0] == "RuntimeError"
    assert "call() inside a transaction" in row[1]


async def test_a_handler_may_be_gone_for_what_was_parked(subscriber_of, deliver):
    subscriber = subscriber_of(note)
    [stranger] = deliver("a", type="Stranger")
    assert not subscriber.wants(stranger)
    with pytest.raises(LookupError, match="crm has no handler for Stranger on order"):
        await subscriber.run(stranger.event, None)
    assert subscriber.retry(stranger.event) == Retry()


def test_the_wait_before_the_next_attempt_doubles_up_to_the_cap(subscriber_of, deliver, clock):
    [one] = deliver("a")
    subscriber = subscriber_of(note, retry=Retry(attempts=20, base=1.0, cap=60.0))
    now = clock.now().timestamp()
    for attempts, bound in ((1, 4), (2, 8), (3, 16), (10, 60), (19, 60)):
        waits = [subscriber.next_attempt(one.event, attempts) - now for _ in range(300)]
        assert 0 <= min(waits) < bound * 0.05
        assert bound * 0.95 < max(waits) <= bound
    assert subscriber.next_attempt(one.event, 20) is None
