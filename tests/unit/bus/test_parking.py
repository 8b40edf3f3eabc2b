"""Parked events are tried when their time comes; dead letters are seen to by hand."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus.codec import encode
from micro.bus.delivery import Delivery
from micro.bus.intake import Intake
from micro.bus.letters import Letters
from micro.bus.message import Message, Partition, Record
from micro.bus.origin import Origin
from micro.bus.parking import Parking
from micro.errors import NotFound, StoreUnavailable, UsageError
from micro.service import Retry
from micro.testing.faults import FaultyStore, fail_at

EVERY = Letters(every=True)


class Desk:
    """A subscriber whose handler refuses the numbers in `bad`, its intake and its parking."""

    def __init__(self, subscriber_of, clock):
        self.bad, self.calls, self.clock = set(), [], clock
        self.error = ValueError
        self.subscriber = subscriber_of(self.handle, retry=Retry(attempts=4, base=1.0, cap=100.0))
        self.intake, self.parking = Intake(self.subscriber), Parking(self.subscriber)
        self.origin, self.offset = Origin("shop", clock), 0

    async def handle(self, event, tx):
        n = event.data["n"]
        self.calls.append(n)
        await tx.execute("insert into applied (n, key) values (?, ?)", n, event.key)
        if n in self.bad:
            raise self.error(f"number {n}")

    async def take(self, *keys, n=0):
        """Hand in events with these keys, numbered from `n` on; their ids."""
        deliveries = []
        for index, key in enumerate(keys):
            event = self.origin.event("order.events", "OrderPlaced", {"n": n + index}, key=key)
            deliveries.append(self.delivery(encode(event)))
        await self.intake.take(deliveries)
        return [delivery.id for delivery in deliveries]

    def delivery(self, message):
        self.offset += 1
        return Delivery.of(Record(Partition("order.events", 3), self.offset, message, 0.0))

    async def kill(self):
        """Let time pass until every parked head is a dead letter."""
        for _ in range(4):
            await self.clock.advance(200)
            await self.parking.retry_due()

    async def applied(self, key=None):
        rows = await self.subscriber.store.query("select n, key from applied order by seq")
        return [row[0] for row in rows if key in {None, row[1]}]

    async def counts(self):
        return await self.subscriber.parked.counts()

    async def unsettled(self):
        """Events that the inbox has as taken over, not as applied."""
        rows = await self.subscriber.store.query("select count(*) from micro_inbox where handled_at is null")
        return rows[0][0]

    async def blocked(self):
        rows = await self.subscriber.store.query("select key, events from micro_blocked")
        return {row[0]: row[1] for row in rows}


@pytest.fixture
async def desk(subscriber_of, clock, store, spelled):
    async with store.transaction() as tx:
        await tx.script(
            spelled("create table applied (seq integer primary key, n integer, key text) strict", store)
        )
    return Desk(subscriber_of, clock)


async def outcomes(found):
    return [(outcome.outcome, outcome.id) async for outcome in found]


async def test_an_event_is_tried_again_when_it_is_due_and_not_before(desk, clock):
    desk.bad = {0}
    await desk.take("a")
    assert desk.calls == [0, 0]
    desk.bad = set()
    clock.jump(-100)
    assert await desk.parking.retry_due() == 0
    clock.jump(200)
    assert await desk.parking.retry_due() == 1
    assert await desk.applied() == [0]
    assert await desk.counts() == (0, 0)
    assert await desk.blocked() == {}


async def test_one_that_was_parked_while_the_clock_was_ahead_does_not_wait_for_that_time(desk, clock):
    """Nor do those behind it: a machine that starts with a wrong date would hold up the key for years."""
    desk.bad = {0}
    clock.jump(365 * 86_400)
    await desk.take("a", "a")
    clock.jump(-365 * 86_400)
    desk.bad = set()
    assert await desk.parking.retry_due() == 2
    assert await desk.applied() == [0, 1]
    assert await desk.blocked() == {}


async def test_one_that_always_meets_an_unavailable_database_does_not_hold_up_the_others_for_ever(
    desk, clock, until
):
    desk.bad = {0, 1}
    await desk.take("a", "b")
    desk.bad, desk.error = {0}, StoreUnavailable
    running = asyncio.create_task(desk.parking.run())
    try:
        await until(lambda: desk.calls.count(1) == 3)
        await until(lambda: is_counted(desk, attempts=3))
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert await desk.applied() == [1]
    assert await desk.counts() == (1, 0)


async def is_counted(desk, *, attempts):
    rows = await desk.subscriber.store.query("select attempts from micro_parked")
    return [row[0] for row in rows] == [attempts]


async def test_what_waits_behind_it_follows_in_order(desk, clock):
    desk.bad = {0}
    await desk.take("a", "a", "b", "a")
    assert await desk.blocked() == {"a": 3}
    desk.bad = set()
    await clock.advance(100)
    assert await desk.parking.retry_due() == 3
    assert await desk.applied("a") == [0, 1, 3]
    assert await desk.blocked() == {}
    assert await desk.unsettled() == 0


async def test_one_that_waits_may_fail_in_its_turn_and_holds_up_the_rest(desk, clock):
    desk.bad = {0, 1}
    await desk.take("a", "a", "a")
    desk.bad = {1}
    await clock.advance(100)
    await desk.parking.retry_due()
    assert await desk.applied() == [0]
    assert await desk.blocked() == {"a": 2}
    desk.bad = set()
    await clock.advance(100)
    await desk.parking.retry_due()
    assert await desk.applied() == [0, 1, 2]


async def test_after_its_attempts_it_is_a_dead_letter_copied_once_and_its_key_stays_blocked(
    desk, clock, store, outbox
):
    desk.bad = {0}
    await desk.take("a", "a", "b")
    outbox.committed.clear()
    await desk.kill()
    assert desk.calls.count(0) == 4, "with the batch, alone, and twice from the table"
    assert await desk.counts() == (1, 1)
    assert await desk.applied() == [2]
    assert [row[0] for row in await store.query("select topic from micro_outbox")] == ["order.events.dlq"]
    assert outbox.committed.is_set()
    await desk.take("a", n=5)
    assert await desk.counts() == (2, 1)
    assert await desk.applied() == [2]


async def test_a_dead_letter_with_a_key_that_no_database_takes_holds_up_no_other(desk, store):
    desk.bad = {0, 1}
    event = desk.origin.event("order.events", "OrderPlaced", {"n": 0}, key="x")
    foreign = Message("order.events", "x\0y", encode(event).value)
    await desk.intake.take([desk.delivery(foreign)])
    await desk.take("b", n=1)
    desk.bad = {0}
    await desk.kill()
    assert await desk.counts() == (0, 1)
    assert await desk.applied() == [1]
    assert [row[0] for row in await store.query("select key from micro_outbox")] == ["x\ufffdy"]


async def test_the_wait_grows_with_each_attempt(desk, clock, store):
    desk.bad, bounds = {0}, []
    await desk.take("a")
    while due := (await store.query("select next_attempt_at from micro_parked"))[0][0]:
        bounds.append(due - clock.now().timestamp())
        await clock.advance(max(bounds[-1], 0) + 0.001)
        await desk.parking.retry_due()
    assert len(bounds) == 2
    assert 0 <= bounds[0] <= 8
    assert 0 <= bounds[1] <= 16


async def test_replaying_applies_a_dead_letter_once_and_then_what_waited(desk):
    desk.bad = {0}
    ids = await desk.take("a", "a", "a")
    await desk.kill()
    desk.bad = set()
    assert await outcomes(desk.parking.replay(Letters(ids=(ids[0],)))) == [("applied", ids[0])]
    await desk.parking.retry_due()
    assert await desk.applied() == [0, 1, 2]
    assert await desk.counts() == (0, 0)
    with pytest.raises(NotFound):
        await outcomes(desk.parking.replay(Letters(ids=(ids[0],))))
    assert await desk.applied() == [0, 1, 2]


async def test_a_replay_that_fails_leaves_the_letter_dead_with_the_new_reason(desk, store):
    desk.bad = {0}
    [id] = await desk.take("a")
    await desk.kill()
    desk.error = KeyError
    [outcome] = [outcome async for outcome in desk.parking.replay(EVERY)]
    assert (outcome.id, outcome.type, outcome.outcome, outcome.detail) == (
        id,
        "OrderPlaced",
        "failed",
        "KeyError: 'number 0'",
    )
    [letter] = await desk.parking.list()
    assert letter["state"] == "dead"
    assert letter["attempts"] == 5
    assert letter["error"] == {"type": "KeyError", "message": "'number 0'"}
    assert len(await store.query("select 1 from micro_outbox")) == 1, "no second copy"


async def test_skipping_gives_one_up_and_lets_the_rest_go_on(desk):
    desk.bad = {0}
    [id, *_] = await desk.take("a", "a")
    await desk.kill()
    assert await outcomes(desk.parking.skip(Letters(ids=(id,)))) == [("dropped", id)]
    await desk.parking.retry_due()
    assert await desk.applied() == [1]
    assert await desk.blocked() == {}
    assert await desk.unsettled() == 0


async def test_purging_gives_up_what_waits_behind_too_and_frees_the_key(desk):
    desk.bad = {0}
    ids = await desk.take("a", "a", "a", "b")
    await desk.kill()
    [outcome] = [outcome async for outcome in desk.parking.purge(EVERY)]
    assert (outcome.outcome, outcome.detail) == ("dropped", "and 2 behind it")
    assert await desk.counts() == (0, 0)
    assert await desk.blocked() == {}
    await desk.take("a", n=7)
    assert await desk.applied() == [3, 7]
    assert await desk.unsettled() == 0
    assert len(ids) == 4


async def test_what_was_given_up_does_not_come_back_when_it_is_delivered_again(desk):
    desk.bad = {0}
    event = encode(desk.origin.event("order.events", "OrderPlaced", {"n": 0}, key="a"))
    delivery = desk.delivery(event)
    await desk.intake.take([delivery])
    await desk.kill()
    await outcomes(desk.parking.skip(EVERY))
    desk.bad = set()
    assert await desk.intake.take([delivery]) == {"known": 1}
    assert await desk.applied() == []


async def test_letters_are_chosen_by_id_topic_type_and_exception(desk):
    desk.bad = {0, 1}
    first, second = await desk.take("a", "b")
    await desk.kill()
    chosen = {
        Letters(ids=(first,)): [first],
        Letters(ids=(second, first)): [first, second],
        Letters(topic="order.events"): [first, second],
        Letters(topic="user.events"): [],
        Letters(type="OrderPlaced", error="ValueError"): [first, second],
        Letters(type="Other"): [],
        Letters(error="KeyError"): [],
        EVERY: [first, second],
    }
    for letters, ids in chosen.items():
        assert [letter["id"] for letter in await desk.parking.list(letters)] == ids


async def test_naming_nothing_is_not_naming_everything(desk):
    for change in (desk.parking.replay, desk.parking.skip, desk.parking.purge):
        with pytest.raises(UsageError, match="which dead letters"):
            await outcomes(change(Letters()))


async def test_an_id_that_is_no_dead_letter_is_an_error_after_the_others_are_done(desk):
    desk.bad = {0}
    [id] = await desk.take("a")
    await desk.kill()
    desk.bad = set()
    with pytest.raises(NotFound, match="crm has no dead letter nope"):
        await outcomes(desk.parking.replay(Letters(ids=("nope", id))))
    assert await desk.applied() == [0]
    with pytest.raises(NotFound, match="crm has no parked event nope"):
        await desk.parking.inspect("nope")


async def test_many_letters_are_gone_through_page_by_page(desk):
    desk.bad = set(range(70))
    ids = await desk.take(*[f"key{n}" for n in range(70)])
    await desk.kill()
    page = await desk.parking.list(limit=50)
    assert [letter["id"] for letter in page] == ids[:50]
    assert [letter["id"] for letter in await desk.parking.list(after=page[-1]["seq"])] == ids[50:]
    desk.bad = set(range(10))
    done = await outcomes(desk.parking.replay(EVERY))
    assert done == [("failed" if n < 10 else "applied", id) for n, id in enumerate(ids)]


async def test_a_list_shows_what_waits_only_when_asked(desk, clock):
    desk.bad = {0, 2}
    await desk.take("a", "a")
    await desk.kill()
    await desk.take("b", n=2)
    assert [letter["state"] for letter in await desk.parking.list()] == ["dead"]
    letters = await desk.parking.list(waiting=True)
    assert [letter["state"] for letter in letters] == ["dead", "waiting", "retrying"]
    assert letters[1]["error"] is None
    assert letters[2]["next_attempt_at"] >= "2026-01-01T00:"
    assert (letters[0]["topic"], letters[0]["partition"], letters[0]["key"]) == ("order.events", 3, "a")


async def test_inspecting_shows_the_event_its_headers_and_the_stack(desk):
    desk.bad = {0}
    [id, *_] = await desk.take("a", "a", "a")
    await desk.kill()
    letter = await desk.parking.inspect(id)
    assert letter["event"]["data"] == {"n": 0}
    assert letter["headers"]["ce_id"] == id
    assert "in handle" in letter["stack"]
    assert "raw" not in letter
    assert letter["behind"] == 2
    waiting = (await desk.parking.list(waiting=True))[1]
    assert (await desk.parking.inspect(waiting["id"]))["stack"] == ""


async def test_the_stack_is_the_handlers_own_and_tells_the_last_attempt_alone(desk):
    desk.bad = {0}
    await desk.take("a")
    await desk.kill()
    for stack in [
        (await desk.parking.inspect(letter["id"]))["stack"] for letter in await desk.parking.list()
    ]:
        assert stack.count("Traceback (most recent call last)") == 1
        assert stack.count("ValueError: number 0") == 1
        assert "HandlerFailed" not in stack
        assert "subscriber.py" not in stack
        assert "in handle" in stack.splitlines()[1]


async def test_the_stack_keeps_what_the_handler_itself_was_handling(desk):
    def fail(text):
        try:
            {}["inner"]
        except KeyError as error:
            raise ValueError(text) from error

    desk.error, desk.bad = fail, {0}
    await desk.take("a")
    (parked,) = await desk.parking.list(waiting=True)
    stack = (await desk.parking.inspect(parked["id"]))["stack"]
    assert stack.index("KeyError: 'inner'") < stack.index("ValueError: number 0")
    assert stack.count("Traceback (most recent call last)") == 2


async def test_undecodable_bytes_can_be_inspected_and_dropped_and_fail_again(desk):
    junk = desk.delivery(Message("order.events", "a", b"\xff"))
    await desk.intake.take([junk])
    letter = await desk.parking.inspect(junk.id)
    assert (letter["event"], letter["raw"], letter["behind"]) == (None, "/w==", 0)
    assert await outcomes(desk.parking.replay(EVERY)) == [("failed", junk.id)]
    assert await outcomes(desk.parking.purge(EVERY)) == [("dropped", junk.id)]
    assert await desk.counts() == (0, 0)


async def test_bytes_that_a_later_release_can_decode_are_applied_once(desk, store):
    junk = desk.delivery(Message("order.events", "a", b"\xff"))
    event = desk.origin.event("order.events", "OrderPlaced", {"n": 5}, key="a")
    await desk.intake.take([junk])
    async with store.transaction() as tx:
        await tx.execute("update micro_parked set value = ?", encode(event).value)
    assert await outcomes(desk.parking.replay(EVERY)) == [("applied", junk.id)]
    assert await desk.applied() == [5]
    assert await desk.intake.take([desk.delivery(encode(event))]) == {"known": 1}


async def test_bytes_that_turn_out_to_be_an_event_applied_before_are_let_go(desk, store):
    event = desk.origin.event("order.events", "OrderPlaced", {"n": 5}, key="a")
    junk = desk.delivery(Message("order.events", "a", b"\xff"))
    await desk.intake.take([junk, desk.delivery(encode(event))])
    async with store.transaction() as tx:
        await tx.execute("update micro_parked set value = ?", encode(event).value)
    assert await outcomes(desk.parking.replay(EVERY)) == [("gone", junk.id)]
    assert await desk.applied() == [5]
    assert await desk.counts() == (0, 0)


async def test_what_someone_else_took_meanwhile_is_gone(desk):
    desk.bad = {0}
    await desk.take("a")
    await desk.kill()
    desk.bad = set()
    first, second = desk.parking.replay(EVERY), Parking(desk.subscriber).skip(EVERY)
    taken = [letter async for letter in desk.parking._chosen(EVERY)]
    assert await outcomes(first) == [("applied", taken[0].id)]
    assert (await desk.parking._try(taken[0])).outcome == "gone"
    assert (await desk.parking._drop(taken[0], behind=True)).outcome == "gone"
    assert (await desk.parking._failed(taken[0], ValueError("late"))).outcome == "failed"
    assert await outcomes(second) == []
    assert await desk.applied() == [0]


async def test_two_failures_of_one_key_at_once_keep_their_order(desk, clock):
    """Live and replay may both fail on a key: the second waits behind the first, untried."""
    desk.bad = {0, 1}
    events = [encode(desk.origin.event("order.events", "OrderPlaced", {"n": n}, key="a")) for n in (0, 1)]
    first, second = (desk.delivery(event) for event in events)
    await desk.intake._park(first, ValueError("x"), 2)
    await desk.intake._park(second, ValueError("x"), 2)
    states = [letter["state"] for letter in await desk.parking.list(waiting=True)]
    assert states == ["retrying", "waiting"]
    desk.bad = set()
    await clock.advance(100)
    await desk.parking.retry_due()
    assert await desk.applied() == [0, 1]
    assert await desk.intake._park(first, ValueError("x"), 2) == {"known": 1}


async def test_a_key_that_is_free_again_by_the_time_its_event_would_queue_is_handled(desk, store):
    """The last parked event may leave between the question and the answer."""
    delivery = desk.delivery(encode(desk.origin.event("order.events", "OrderPlaced", {"n": 0}, key="a")))
    table = desk.subscriber.parked

    async def stale(tx, places):
        return set(places)

    table.blocked = stale
    assert await desk.intake.take([delivery]) == {"applied": 1}


async def test_the_loop_tries_what_is_due_until_it_is_cancelled(desk, clock, until):
    desk.bad = {0}
    await desk.take("a", "a")
    running = asyncio.create_task(desk.parking.run())
    desk.bad = set()

    async def done():
        return await desk.applied() == [0, 1]

    await until(done)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_the_loop_waits_for_a_database_that_is_away(desk, clock, until, store):
    desk.bad = {0}
    await desk.take("a")
    desk.bad = set()
    desk.subscriber.store = FaultyStore(
        store, fail_at("after_handler", StoreUnavailable("disk full"), times=3)
    )
    running = asyncio.create_task(desk.parking.run())

    async def done():
        return await desk.applied() == [0]

    await until(done)
    assert desk.calls == [0, 0, 0, 0, 0, 0], "the database's failures used up no attempt"
    running.cancel()
    await asyncio.wait([running])


async def test_a_handler_that_is_gone_leaves_a_dead_letter_that_says_so(desk, clock):
    desk.bad = {0}
    await desk.take("a")
    desk.subscriber._handlers.clear()
    await clock.advance(100)
    for _ in range(10):
        await desk.parking.retry_due()
        await clock.advance(400)
    [letter] = await desk.parking.list()
    assert letter["error"]["type"] == "LookupError"
