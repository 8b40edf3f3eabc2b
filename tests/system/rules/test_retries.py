"""A request is sent again only where nothing of it was sent, or it does no harm (RFC 9110 section 9.2.2)."""

from __future__ import annotations

import pytest
from rig.client import problem
from rig.origin import Origin
from rig.written import chunked, get, post

from micro.spec.gateway import Route
from micro.spec.upstream import BreakerSpec, EjectionSpec, RetrySpec, UpstreamSpec

pytestmark = pytest.mark.needs("tries")

OFF = EjectionSpec(failures=0)
NEVER = BreakerSpec(failure_rate=0)
TWICE = UpstreamSpec(retry=RetrySpec(attempts=2), ejection=OFF)


@pytest.fixture
def twice(world):
    world.serve(upstream=TWICE)
    return world


def again(world):
    """The request once more, after the wait before it."""
    world.settle()
    world.advance(0.5)
    return world.origin.request()


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_an_idempotent_request_without_an_answer_is_sent_again(twice, method, leave):
    client, got = twice.ask(get(method=method))
    getattr(got.line, leave)()
    second = again(twice)
    assert second.message.line == got.message.line
    same = {b"traceparent", b"x-request-timeout-ms"}
    assert [pair for pair in second.fields if pair[0] not in same] == [
        pair for pair in got.fields if pair[0] not in same
    ]
    second.answer(200, b"X-A: 1")
    assert client.answer(method=method)[b"x-a"] == b"1"
    assert twice.again(client, second.line)
    assert [record.status for record in twice.log] == [200, 200]


def test_a_body_that_is_at_hand_is_sent_again(twice):
    client, got = twice.ask(post(b"/", b"hello", method=b"PUT"))
    assert got.body() == b"hello"
    got.line.reset()
    second = again(twice)
    assert second.body() == b"hello"
    second.answer()
    assert client.answer().status == 200


def test_a_body_in_chunks_that_is_at_hand_is_sent_again(twice):
    client, got = twice.ask(chunked(b"/", b"he", b"llo", method=b"PUT"))
    assert got.body() == b"hello"
    got.line.reset()
    second = again(twice)
    assert second.body() == b"hello"
    second.answer()
    assert client.answer().status == 200


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
def test_what_is_not_idempotent_is_not_sent_again_once_a_byte_was_sent(twice, method):
    client, got = twice.ask(post(b"/", b"once", method=method))
    got.line.close()
    twice.settle()
    twice.advance(0.5)
    problem(client.answer(), 502, "connection_terminated")
    assert twice.is_silent()
    assert client.goes_on()


@pytest.mark.parametrize("request_", [get(), post(b"/", b"once")])
def test_a_refused_connection_costs_nothing_where_another_instance_takes_the_request(world, request_):
    dead = Origin()
    dead.close()
    world.serve(urls=[dead.url, world.origin.url], upstream=TWICE)
    for _ in range(2):  # one of the two begins with the dead one
        client = world.connect()
        client.send(request_)
        got = again(world)
        assert got.body() in {b"", b"once"}
        got.answer(body=b"hello")
        assert client.answer().body == b"hello"


def test_after_the_first_byte_of_an_answer_nothing_is_sent_again(twice):
    client, got = twice.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    answer = client.head()
    got.line.close()
    assert client.breaks_off(answer)
    twice.advance(0.5)
    assert twice.is_silent()


def test_the_number_of_tries_is_bounded(twice):
    client, got = twice.ask(get())
    got.line.close()
    again(twice).line.close()
    twice.settle()
    twice.advance(0.5)
    problem(client.answer(), 502, "connection_terminated")
    assert twice.is_silent()


def test_a_second_try_goes_to_another_instance(world):
    other = Origin()
    try:
        world.serve(urls=[world.origin.url, other.url], upstream=TWICE)
        client = world.connect()
        client.send(get())
        world.settle()
        first, second = (world.origin, other) if not world.origin.silent() else (other, world.origin)
        first.request().line.close()
        world.settle()
        world.advance(0.5)
        second.request().answer(body=b"hello")
        assert client.answer().body == b"hello"
    finally:
        other.close()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_statuses_that_count_as_failed_tries_are_tried_again_where_that_does_no_harm(world, method):
    world.serve(upstream=UpstreamSpec(retry=RetrySpec(attempts=2, statuses=(503,)), ejection=OFF))
    client, got = world.ask(get(method=method) if method == b"GET" else post(b"/", b"x"))
    got.body()
    got.answer(503, b"X-A: first", body=b"busy")
    if method == b"GET":
        again(world).answer(200, b"X-A: second")
    answer = client.answer()
    assert answer[b"x-a"] == (b"second" if method == b"GET" else b"first")


def test_the_last_try_s_answer_is_passed_on_whatever_it_says(world):
    world.serve(upstream=UpstreamSpec(retry=RetrySpec(attempts=2, statuses=(503,)), ejection=OFF))
    client, got = world.ask(get())
    got.answer(503, body=b"busy")
    again(world).answer(503, body=b"still busy")
    assert client.answer().body == b"still busy"


def test_the_deadline_is_for_all_tries_together(world):
    world.serve(Route(path="/", service="app", timeout=3.0), upstream=TWICE)
    client, got = world.ask(get())
    world.advance(2.0)
    got.line.close()
    second = again(world)
    assert int(second[b"x-request-timeout-ms"]) <= 1000
    world.advance(1.0)
    problem(client.answer(), 504, "http_response_timeout")
    assert second.gone()


def test_retries_have_a_budget(world):
    """Where everything fails, retries don't double the load: three, and then one in five."""
    world.serve(
        upstream=UpstreamSpec(
            retry=RetrySpec(attempts=2, budget=20), ejection=OFF, breaker=NEVER, panic_below=0
        )
    )
    sent = 0
    client = world.connect()
    for _ in range(15):
        client.send(get())
        while True:
            world.settle()
            world.advance(0.3)
            if world.origin.silent():
                break
            world.origin.request().line.close()
            sent += 1
        assert client.answer().status == 502
    assert 15 + 3 <= sent <= 15 + 6


def test_a_client_that_leaves_before_the_second_try_gets_none_that_is_waited_for(twice):
    client, got = twice.ask(get())
    got.line.close()
    client.reset()
    twice.settle()
    twice.advance(1.5)  # for who looks after his client once a second
    if not twice.is_silent():
        assert twice.origin.request().gone()
