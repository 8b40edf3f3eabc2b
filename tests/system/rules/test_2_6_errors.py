"""Reference 2.6: what goes wrong behind the gateway, told by status and by RFC 9209 error type. A test for each row."""

from __future__ import annotations

import json
import socket

import pytest
from rig.client import problem
from rig.written import answered, chunked, get, post

from micro.spec.gateway import Cors, Route
from micro.spec.terms import Rate
from micro.spec.upstream import BreakerSpec, RetrySpec, UpstreamSpec

ONCE = RetrySpec(attempts=1)


def test_destination_not_found_an_unknown_path_is_404(world):
    world.serve(Route(path="/known", service="app"))
    client = world.connect()
    for target in (b"/", b"/unknown", b"/knownas", b"//known"):
        problem(client.ask(get(target)), 404)
    assert world.is_silent()
    assert client.goes_on()


def test_a_404_comes_before_any_401(world):
    world.serve(Route(path="/known", service="app", auth="required"))
    client = world.connect()
    problem(client.ask(get(b"/unknown")), 404)
    problem(client.ask(get(b"/known")), 401)


def test_405_names_the_methods_of_the_route(world):
    world.serve(Route(path="/", service="app", methods=frozenset({"GET", "POST"})))
    client = world.connect()
    answer = client.ask(get(method=b"DELETE"))
    problem(answer, 405)
    assert answer[b"allow"] == b"GET, HEAD, POST"
    assert client.goes_on()


@pytest.mark.needs("instances")
def test_destination_unavailable_while_the_breaker_is_open_is_503(world):
    breaker = BreakerSpec(failure_rate=50, requests=2, window=10.0, open=5.0)
    world.serve(upstream=UpstreamSpec(breaker=breaker, retry=ONCE, panic_below=0))
    client = world.connect()
    for _ in range(3):
        client.send(get())
        world.origin.request().answer(503)
        assert client.answer().status == 503
        if world.cluster.states()[0]["state"] == "open":
            break
    answer = client.ask(get())
    problem(answer, 503, "destination_unavailable")
    assert int(answer[b"retry-after"]) >= 1
    assert world.is_silent()
    world.advance(5.5)
    assert world.again(client)


@pytest.mark.needs("instances")
def test_connection_limit_reached_with_a_full_queue_is_503(world):
    world.serve(upstream=UpstreamSpec(max_requests=1, queue=1, queue_timeout=1.0, retry=ONCE))
    first, got = world.ask(get(b"/1"))
    second = world.connect()
    second.send(get(b"/2"))
    world.settle()
    third = world.connect()
    answer = third.ask(get(b"/3"))
    problem(answer, 503, "connection_limit_reached")
    assert int(answer[b"retry-after"]) >= 1
    assert third.goes_on()
    got.answer(body=b"1")
    assert first.answer().body == b"1"
    world.origin.request().answer(body=b"2")
    assert second.answer().body == b"2"


@pytest.mark.needs("instances")
def test_connection_limit_reached_after_the_time_in_the_queue_is_503(world):
    world.serve(upstream=UpstreamSpec(max_requests=1, queue=1, queue_timeout=1.0, retry=ONCE))
    first, got = world.ask(get(b"/1"))
    second = world.connect()
    second.send(get(b"/2"))
    world.settle()
    world.advance(1.3)
    problem(second.answer(), 503, "connection_limit_reached")
    got.answer(body=b"1")
    assert first.answer().body == b"1"
    assert world.is_silent()
    assert world.again(second, got.line)


@pytest.mark.needs("instances")
def test_a_client_that_leaves_the_queue_is_not_sent_on(world):
    world.serve(upstream=UpstreamSpec(max_requests=1, queue=2, queue_timeout=60.0, retry=ONCE))
    first, got = world.ask(get(b"/1"))
    second = world.connect()
    second.send(get(b"/2"))
    world.settle()
    second.reset()
    world.advance(1.5)
    got.answer(body=b"1")
    assert first.answer().body == b"1"
    assert world.is_silent()
    assert world.again(first, got.line)


def test_too_many_requests_in_hand_are_503_and_health_stays(world):
    world.serve(max_requests=1)
    first, got = world.ask(get(b"/1"))
    second = world.connect()
    answer = second.ask(get(b"/2"))
    assert answer.status == 503
    assert int(answer[b"retry-after"]) >= 1
    assert second.goes_on()
    got.answer(body=b"1")
    assert first.answer().body == b"1"
    assert world.is_silent()
    assert world.again(second, got.line)


@pytest.mark.needs("instances")
def test_connection_refused_is_502(world):
    world.serve()
    world.origin.stop_listening()
    client = world.connect()
    problem(client.ask(get()), 502, "connection_refused")
    assert client.goes_on()


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_connection_terminated_before_an_answer_is_502(world, leave):
    client, got = world.ask(get())
    getattr(got.line, leave)()
    problem(client.answer(), 502, "connection_terminated")
    assert world.log[-1].status == 502
    assert client.goes_on()
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Len", b"H"])
def test_connection_terminated_in_the_head_of_an_answer_is_502(world, part):
    client, got = world.ask(get())
    got.send(part)
    got.line.close()
    answer = client.answer()
    assert answer.status == 502
    assert json.loads(answer.body)["status"] == 502
    assert client.goes_on()
    assert world.again(client)


@pytest.mark.needs("instances")
def test_connection_timeout_is_504(world):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(3)]
    try:
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        world.serve(
            urls=[f"http://127.0.0.1:{full.getsockname()[1]}"],
            upstream=UpstreamSpec(connect_timeout=0.3, retry=ONCE),
        )
        client = world.connect()
        client.send(get())
        world.settle()
        world.advance(1.0)
        problem(client.answer(), 504, "connection_timeout")
        assert client.goes_on()
    finally:
        for each in (*fillers, full):
            each.close()


@pytest.mark.needs("instances")
def test_no_first_byte_in_time_is_504(world):
    world.serve(upstream=UpstreamSpec(first_byte_timeout=2.0, retry=ONCE))
    client, got = world.ask(get())
    world.advance(2.3)
    answer = client.answer()
    assert answer.status == 504
    assert answer[b"proxy-status"] in {
        b"micro; error=connection_read_timeout",
        b"micro; error=http_response_timeout",
    }
    assert got.gone()
    assert client.goes_on()


@pytest.mark.needs("instances")
def test_an_instance_that_takes_no_more_of_a_body_is_504(world):
    world.serve(max_body=64 << 20, upstream=UpstreamSpec(write_timeout=2.0, retry=ONCE), min_rate=0)
    client, got = world.ask(post(b"/", b"", length=64 << 20))
    client.push(b"a" * (1 << 20), world, most=64 << 20)
    world.advance(3.0)
    problem(client.answer(), 504, "connection_write_timeout")
    assert got.breaks_off()


@pytest.mark.needs("instances")
def test_a_body_of_an_answer_that_stops_is_broken_off(world):
    world.serve(
        Route(path="/", service="app", timeout=0), upstream=UpstreamSpec(read_timeout=2.0, retry=ONCE)
    )
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    answer = client.head()
    world.settle()
    world.advance(2.5)
    assert client.breaks_off(answer)
    assert client.part == b"hello"
    assert got.gone()


def test_the_deadline_of_the_route_is_504_before_an_answer(world):
    world.serve(Route(path="/", service="app", timeout=3.0))
    client, got = world.ask(get())
    world.advance(2.8)
    assert client.nothing()
    world.advance(0.5)
    problem(client.answer(), 504, "http_response_timeout")
    assert world.log[-1].status == 504
    assert got.gone()
    assert client.goes_on()
    assert world.again(client)


def test_the_deadline_of_the_route_breaks_an_answer_off_that_began(world):
    world.serve(Route(path="/", service="app", timeout=3.0))
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    answer = client.head()
    world.advance(3.3)
    assert client.breaks_off(answer)
    assert client.part == b"hello"
    assert got.gone()


@pytest.mark.needs("instances")
def test_an_instance_is_told_how_much_time_is_left(world):
    world.serve(Route(path="/", service="app", timeout=3.0))
    _, got = world.ask(get(b"/", b"X-Request-Timeout-Ms: 999999"))
    assert 0 < int(got[b"x-request-timeout-ms"]) <= 3000


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"SSH-2.0-OpenSSH_9.7\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX A: 1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-\xe4: 1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_http_protocol_error_is_502(world, data):
    client, got = world.ask(get())
    got.send(data)
    world.settle()
    if client.nothing():  # what ends no line yet
        world.advance(15.5)
        assert client.answer().status in {502, 504}
    else:
        problem(client.answer(), 502, "http_protocol_error")
    assert got.gone()
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
def test_http_response_header_section_size_is_502(world):
    client, got = world.ask(get())
    for _ in range(40):
        got.line.send_some((b"" if _ else b"HTTP/1.1 200 OK\r\n") + (b"X-A: " + b"a" * 1000 + b"\r\n") * 10)
        world.settle()
    problem(client.answer(), 502, "http_response_header_section_size")
    assert client.goes_on()
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
def test_what_an_instance_sends_unasked_is_given_to_nobody(world):
    client, got = world.ask(get())
    got.answer(body=b"hello")
    assert client.answer().body == b"hello"
    got.send(answered(b"poison"))
    world.settle()
    assert world.again(client)
    assert client.goes_on()


@pytest.mark.needs("bytes of an answer")
def test_what_follows_an_answer_at_once_is_given_to_nobody(world):
    client, got = world.ask(get())
    got.send(answered(b"hello") + answered(b"poison"))
    assert client.answer().body == b"hello"
    assert world.again(client)
    assert got.gone()


@pytest.mark.needs("bytes of an answer")
def test_an_answer_in_http_1_0_ends_with_its_connection(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")
    got.line.close()
    assert client.answer().body == b"hello"
    assert world.again(client)


@pytest.mark.needs("bytes of an answer")
def test_an_answer_in_http_1_0_with_a_length_is_not_followed_on_its_connection(world):
    client, got = world.ask(get())
    got.send(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert client.answer().body == b"hello"
    assert got.gone()
    assert world.again(client)


def test_http_request_denied_is_403(world):
    world.serve(cors=Cors(origins=("https://shop.example",)))
    preflight = get(
        b"/", b"Origin: https://evil.example", b"Access-Control-Request-Method: GET", method=b"OPTIONS"
    )
    client = world.connect()
    problem(client.ask(preflight), 403, "http_request_denied")
    assert world.is_silent()
    assert client.goes_on()


def test_http_request_error_tells_the_gateway_s_own_refusals_from_the_service_s(world):
    client, got = world.ask(get())
    got.answer(400, b"Content-Type: text/plain", body=b"mine")
    answer = client.answer()
    assert (answer.status, answer.body) == (400, b"mine")
    assert b"proxy-status" not in answer
    problem(client.ask(get(b"/%zz")), 400)


def test_a_body_that_grows_too_large_is_413(world):
    world.serve(max_body=10)
    client = world.connect()
    client.send(chunked(b"/", b"123456", b"123456", end=b""))
    answer = client.answer()
    problem(answer, 413)
    assert world.got_nothing_whole()


@pytest.mark.needs("calls")
def test_an_application_that_raises_is_502(world):
    async def app(scope, receive, send):
        raise RuntimeError("secret")

    world.serve(app=app)
    client = world.connect()
    answer = client.ask(get())
    problem(answer, 502, "connection_terminated")
    assert b"secret" not in answer.wire
    assert client.goes_on()


def test_proxy_internal_error_is_500(world):
    """A policy that raises is the gateway's own failure."""
    world.own_faults = 1
    world.serve(Route(path="/", service="app", policies=("rig.faulty:Faulty",)))
    client = world.connect()
    answer = client.ask(get())
    problem(answer, 500, "proxy_internal_error")
    assert b"secret" not in answer.wire
    assert world.is_silent()
    assert client.goes_on()


def test_proxy_loop_detected_is_502(world):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    problem(client.ask(get(b"/", b"Via: " + got[b"via"])), 502, "proxy_loop_detected")


def test_every_refusal_has_the_ids_and_nothing_of_the_inside(world):
    world.serve(Route(path="/a", service="app", auth="required"), rate_limit=Rate(3, 60.0))
    client = world.connect()
    for request in (
        get(b"/x"),
        get(b"/a"),
        get(b"/%zz"),
        get(b"/a", method=b"TRACE"),
        get(host=b"Host: evil"),
    ):
        answer = client.ask(request)
        problem(answer, answer.status)
        assert answer[b"x-request-id"]
        assert b"server" not in answer
        assert b"date" in answer
