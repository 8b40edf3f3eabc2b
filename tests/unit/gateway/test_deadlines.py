"""The timer wheel, and what a deadline means for a request."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - the order of operations, seeded by hypothesis

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.gateway.deadlines import TICK, Wheel
from micro.gateway.flow import GRACE, LOOK
from micro.spec.gateway import Route
from micro.testing import FakeClock


class Timer:
    def __init__(self, clock, moment=0.0):
        self.clock = clock
        self.moment = moment
        self.fired = []

    def due(self):
        self.fired.append(self.clock.monotonic())


async def test_a_deadline_fires_once_soon_after_its_moment(clock):
    wheel, timer = Wheel(clock), Timer(clock)
    wheel.add(timer, 1.0)
    await clock.advance(1.0)
    assert timer.fired == []
    await clock.advance(3 * TICK)
    assert len(timer.fired) == 1
    assert 1.0 < timer.fired[0] <= 1.0 + 2 * TICK
    await clock.advance(10)
    assert len(timer.fired) == 1


async def test_a_deadline_that_is_cleared_does_not_fire(clock):
    wheel, timer = Wheel(clock), Timer(clock)
    slot = wheel.add(timer, 1.0)
    slot.discard(timer)
    await clock.advance(5)
    assert timer.fired == []


async def test_a_deadline_in_the_past_fires_at_the_next_tick(clock):
    await clock.advance(100)
    wheel, timer = Wheel(clock), Timer(clock)
    wheel.add(timer, 1.0)
    await clock.advance(2 * TICK)
    assert len(timer.fired) == 1


async def test_nothing_runs_while_no_deadline_is_set(clock):
    wheel, timer = Wheel(clock), Timer(clock)
    assert clock.sleeping == 0
    wheel.add(timer, 0.5)
    await clock.advance(0)
    assert clock.sleeping == 1
    await clock.advance(2)
    assert clock.sleeping == 0
    wheel.add(timer, 3.0)
    await clock.advance(2)
    assert len(timer.fired) == 2


async def test_one_that_fails_does_not_keep_the_others_from_firing(clock, caplog):
    class Broken:
        def due(self):
            raise RuntimeError("no")

    wheel, timer = Wheel(clock), Timer(clock)
    wheel.add(Broken(), 0.5)
    wheel.add(timer, 0.5)
    await clock.advance(1)
    assert len(timer.fired) == 1
    assert "deadline could not be kept" in caplog.text


async def test_closing_forgets_everything_and_may_be_done_twice(clock):
    wheel, timer = Wheel(clock), Timer(clock)
    await wheel.close()
    wheel.add(timer, 0.5)
    await wheel.close()
    await wheel.close()
    await clock.advance(5)
    assert timer.fired == []
    assert clock.sleeping == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 3), min_size=1, max_size=20), st.integers(0, 2**32), st.floats(0.05, 1))
def test_never_early_and_at_most_two_ticks_late(moments, seed, step):
    async def run():
        clock = FakeClock()
        wheel, order = Wheel(clock), random.Random(seed)
        timers = [Timer(clock, moment) for moment in moments]
        slots = [wheel.add(timer, timer.moment) for timer in timers]
        cleared = {index for index in range(len(timers)) if order.random() < 0.3}
        for index in cleared:
            slots[index].discard(timers[index])
        while clock.monotonic() < 3.5:
            await clock.advance(step)
        for index, timer in enumerate(timers):
            if index in cleared:
                assert timer.fired == []
            else:
                assert len(timer.fired) == 1
                assert timer.moment <= timer.fired[0] <= timer.moment + 2 * TICK + 1e-6
        await wheel.close()

    asyncio.run(run())


async def never(scope, receive, send):
    await asyncio.Event().wait()


def serve(bench, app, timeout=3.0, **spec):
    return bench.serve(app, routes=[Route(path="/", service="app", timeout=timeout)], **spec)


async def test_a_service_that_takes_too_long_is_cancelled_and_504(bench):
    cancelled = []

    async def app(scope, receive, send):
        try:
            await never(scope, receive, send)
        except asyncio.CancelledError:
            cancelled.append(bench.clock.monotonic())
            raise

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(2.9)
    assert not wire.task.done()
    await bench.clock.advance(0.5)
    answer = await wire.end()
    assert (answer.status, answer["proxy-status"]) == (504, "micro; error=http_response_timeout")
    assert answer["content-type"] == "application/problem+json"
    assert 3.0 < cancelled[0] < 3.3
    assert bench.log[0].status == 504


async def test_a_service_that_swallows_its_cancellation_gets_no_word_in(bench):
    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"too late"})

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(4)
    assert (await wire.end()).status == 504
    assert wire.task.cancelling() == 0


async def test_a_service_that_fails_while_it_is_cancelled_is_504(bench):
    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("clumsy")

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(4)
    assert (await wire.end()).status == 504


async def test_an_answer_that_is_not_complete_at_the_deadline_is_broken_off(bench, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        await asyncio.Event().wait()

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(4)
    answer = await wire.end()
    assert (answer.status, answer.body, answer.complete, answer.broken) == (200, b"tick", False, True)
    assert "took longer than its route allows" in caplog.text


async def test_a_client_whose_body_does_not_come_in_time_is_408(bench, echo):
    wire = serve(bench, echo).open("POST", headers=[("content-length", "5")], chunks=[b"ab"])
    await bench.clock.advance(4)
    answer = await wire.end()
    assert (answer.status, answer["proxy-status"]) == (408, "micro; error=http_request_error")


async def test_work_after_the_answer_has_no_deadline(bench, make_echo):
    echo, finished = make_echo(), []

    async def app(scope, receive, send):
        await echo(scope, receive, send)
        await bench.clock.sleep(60)
        finished.append(True)

    wire = serve(bench, app).open("GET")
    await wire.until(lambda: wire.answer.complete)
    await bench.clock.advance(61)
    await wire.end()
    assert finished == [True]
    assert bench.log[0].duration_ms < 1000


async def test_a_timeout_of_nothing_is_none(bench):
    done = asyncio.Event()

    async def app(scope, receive, send):
        await done.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    wire = serve(bench, app, timeout=0).open("GET")
    await bench.clock.advance(100)
    done.set()
    assert (await wire.end()).status == 200


async def test_a_request_that_is_over_leaves_no_deadline(bench, echo):
    await serve(bench, echo).ask("GET")
    wheel = bench.gateway._parts.wheel
    assert not any(wheel._slots.values())
    await bench.clock.advance(2)
    assert wheel._slots == {}


@pytest.mark.parametrize("delay", [0, 2 * LOOK])
async def test_a_server_that_ends_the_task_ends_it(bench, delay):
    wire = serve(bench, never).open("GET")
    await bench.clock.advance(delay)
    wire.task.cancel()
    await asyncio.wait({wire.task})
    assert wire.task.cancelled()
    assert bench.log[0].status == 499


async def test_a_server_that_ends_the_task_while_the_gateway_does_ends_it(bench):
    entered = asyncio.Event()

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            entered.set()
            await bench.clock.sleep(1)
            raise

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(3.5)
    await asyncio.wait_for(entered.wait(), 60)
    wire.task.cancel()
    await asyncio.wait({wire.task})
    assert wire.task.cancelled()


async def test_a_client_that_leaves_is_told_to_the_service_that_listens(bench):
    heard = []

    async def app(scope, receive, send):
        await receive()
        heard.append((await receive())["type"])

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(0)
    wire.leave()
    answer = await wire.end()
    assert heard == ["http.disconnect"]
    assert (answer.status, answer.broken) == (0, False)
    assert bench.log[0].status == 499


async def test_a_service_that_does_not_listen_is_cancelled_after_a_grace(bench):
    wire = serve(bench, never, timeout=60).open("GET", chunks=[])
    await bench.clock.advance(0)
    wire.leave()
    await bench.clock.advance(LOOK + GRACE - 0.5)
    assert not wire.task.done()
    await bench.clock.advance(1)
    await wire.end()
    assert bench.log[0].status == 499


async def test_a_service_that_notices_and_goes_on_is_cancelled_after_a_grace(bench):
    async def app(scope, receive, send):
        await receive()
        await receive()
        await asyncio.Event().wait()

    wire = serve(bench, app, timeout=60).open("GET")
    await bench.clock.advance(0)
    wire.leave()
    await bench.clock.advance(GRACE - 0.5)
    assert not wire.task.done()
    await bench.clock.advance(1)
    await wire.end()


async def test_what_is_sent_to_a_client_that_left_is_dropped(bench):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await receive()
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(True)

    wire = serve(bench, app).open("GET")
    await bench.clock.advance(0)
    wire.leave()
    answer = await wire.end()
    assert len(sent) == 3
    assert (answer.body, answer.broken) == (b"", False)
    assert bench.log[0].status == 200


async def test_a_server_that_says_by_an_error_that_the_client_left_is_understood(bench):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    wire = serve(bench, app).open("GET", asgi={"version": "3.0", "spec_version": "2.4"})
    wire.failing = True
    answer = await wire.end()
    assert not answer.broken
    assert bench.log[0].status == 200


async def test_a_refusal_that_nobody_hears_is_no_error(bench, echo):
    wire = bench.serve(echo, routes=[]).open("GET")
    wire.failing = True
    await wire.end()
    assert bench.log[0].status == 404


async def test_a_message_that_was_asked_for_ahead_is_handed_on(bench):
    go_on, bodies = asyncio.Event(), []

    async def app(scope, receive, send):
        await go_on.wait()
        bodies.extend([(await receive())["body"], (await receive())["body"]])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    wire = serve(bench, app, timeout=60).open("POST", headers=[("content-length", "4")], chunks=[b"ab"])
    await bench.clock.advance(LOOK + 0.5)
    assert wire.asked == 1
    go_on.set()
    wire.push(b"cd", last=True)
    assert (await wire.end()).status == 200
    assert bodies == [b"ab", b"cd"]


async def test_a_service_that_stops_waiting_loses_no_message(bench):
    bodies = []

    async def app(scope, receive, send):
        await bench.clock.sleep(LOOK + 0.5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await receive()
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    wire = serve(bench, app, timeout=60).open("POST", headers=[("content-length", "2")], chunks=[])
    await bench.clock.advance(LOOK + 1)
    wire.push(b"ab", last=True)
    assert (await wire.end()).status == 200
    assert bodies == [b"ab"]


async def test_a_client_that_waits_to_be_asked_for_its_body_is_not_asked_ahead(bench):
    headers = [("expect", "100-continue"), ("content-length", "2")]
    wire = serve(bench, never, timeout=60).open("POST", headers=headers, chunks=[b"ab"])
    await bench.clock.advance(LOOK * 3)
    assert wire.asked == 0


async def test_a_server_whose_receive_fails_has_lost_the_client(bench):
    wire = serve(bench, never, timeout=60).open("GET", chunks=[])

    async def broken():
        raise ConnectionResetError

    await bench.clock.advance(0)
    flow = next(iter(next(iter(bench.gateway._parts.wheel._slots.values()))))
    flow._receive = broken
    await bench.clock.advance(LOOK + GRACE + 1)
    await wire.end()
    assert bench.log[0].status == 499


async def test_a_short_request_has_no_task_of_its_own(bench, echo):
    before = asyncio.all_tasks()
    wire = serve(bench, echo).open("GET")
    await wire.end()
    extra = asyncio.all_tasks() - before - {wire.task}
    assert {task.get_name() for task in extra} <= {"gateway deadlines"}
