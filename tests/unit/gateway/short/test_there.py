"""The short path: the request, on its way to the instance, and all that can keep it from there."""

from __future__ import annotations

import pytest

from micro.spec.gateway import Cors, Route
from micro.web.server.limits import HIGH_WATER

GET = b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


# There.


async def test_the_exchange_says_what_the_client_sent(client):
    leg = client.send(GET)
    exchange = leg.exchange
    assert (exchange.method, exchange.path, exchange.target, exchange.query) == ("GET", b"/a", b"/a", b"b=c")
    assert (exchange.version, exchange.scheme, exchange.peer) == ("1.1", "http", ("203.0.113.7", 50123))
    assert list(exchange.headers) == [(b"host", b"localhost"), (b"x-a", b"1")]
    assert exchange.client == "203.0.113.7"
    assert leg.body is False
    assert leg.done == []


async def test_two_requests_with_the_same_fields_are_two_exchanges(client):
    for number in range(3):
        leg = client.send(GET.replace(b"/a?b=c", b"/%d" % number))
        assert leg.exchange.path == b"/%d" % number
        assert list(leg.exchange.headers) == [(b"host", b"localhost"), (b"x-a", b"1")]
        leg.answer()
    assert len({record.request_id for record in client.log}) == 3


@pytest.mark.parametrize("data", [POST % 4 + b"body", CHUNKED + b"2\r\nbo\r\n2\r\ndy\r\n0\r\nA: b\r\n\r\n"])
async def test_the_body_passes_piece_by_piece(client, data):
    leg = client.send(data[:-1])
    client.send(data[-1:])
    assert leg.body is True
    assert b"".join(leg.done[:-1]) == b"body"
    assert leg.done[-1] == "end"
    assert leg.exchange.received == 4


async def test_a_body_that_the_instance_does_not_take_stops_the_client(client):
    leg = client.send(POST % 4 + b"b")
    leg.downstream.pause()
    assert not client.transport.reading
    leg.downstream.resume()
    assert client.transport.reading


async def test_an_answer_that_the_client_does_not_take_stops_the_instance(client):
    leg = client.send(GET)
    client.protocol.pause_writing()
    client.protocol.resume_writing()
    assert leg.done == ["pause", "resume"]


async def test_it_is_stopped_from_the_start_where_the_answer_before_still_waits(client):
    client.protocol.pause_writing()
    assert client.send(GET).done == ["pause"]


# Time.


async def test_an_answer_that_does_not_come_in_time_is_504(client, caplog):
    leg = client.send(GET)
    await client.wait()
    head = client.problem(await client.next(), 504)
    assert b"http_response_timeout" in head
    assert leg.done == ["cancel"]
    assert client.protocol.idle


async def test_a_body_that_does_not_come_in_time_is_408(client):
    client.send(POST % 4 + b"bo")
    await client.wait()
    client.problem(await client.next(), 408)


async def test_unless_the_instance_did_not_take_it(client):
    client.send(POST % 4 + b"bo").downstream.pause()
    await client.wait()
    client.problem(await client.next(), 504)


async def test_half_an_answer_in_time_is_none(client, caplog):
    leg = client.send(GET)
    leg.head(length=9)
    await client.turn()
    await client.wait()
    assert client.transport.state == "aborted"
    assert leg.done == ["cancel"]


async def test_a_route_may_have_no_limit(gate):
    client = gate(routes=[Route(path="/", service="far", timeout=0.0)])
    client.send(GET)
    await client.wait(1000.0)
    client.leg.answer()
    assert (await client.next()).endswith(b"hello")


# Policies.


async def test_a_refusal_is_written_by_the_short_path_itself(client):
    client.send(GET.replace(b"localhost", b"example.com"))
    client.problem(await client.next(), 400)
    assert client.upstream.legs == []
    assert client.protocol.idle
    assert len(client.log) == 1


async def test_a_head_request_is_refused_without_a_body(client):
    client.send(HEAD.replace(b"localhost", b"example.com"))
    written = await client.next()
    assert written.startswith(b"HTTP/1.1 400 ")
    assert written.endswith(b"\r\n\r\n")
    assert client.log[0].bytes == 0


async def test_a_preflight_is_answered(gate):
    client = gate(cors=Cors(origins=("https://a.example",)))
    preflight = b"OPTIONS /a HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n"
    client.send(preflight + b"Access-Control-Request-Method: PUT\r\n\r\n")
    written = await client.next()
    assert written.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"access-control-allow-origin: https://a.example" in written
    assert b"content-length" not in written


UNREADABLE = {
    b"GET /a b HTTP/1.1\r\nHost: x\r\nOrigin: %b\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: x\r\nORIGIN:%b \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
    b"GET /a HTTP/2.0\r\nOrigin: %b\r\n\r\n": 505,
    b"GET /a HTTP/1.1\r\nOrigin: %b\r\nX: " + b"x" * 33_000 + b"\r\n\r\n": 431,
    b"GET /a HTTP/1.1\r\nOrigin: %b\r\nX: " + b"x" * 33_000: 431,
}


@pytest.mark.parametrize(("data", "status"), UNREADABLE.items())
async def test_a_page_of_an_allowed_origin_may_read_why_its_request_could_not_be_read(gate, data, status):
    client = gate(cors=Cors(origins=("https://a.example",), credentials=True))
    client.send(data.replace(b"%b", b"https://a.example"))
    head = client.problem(await client.next(), status)
    assert b"access-control-allow-origin: https://a.example\r\n" in head
    assert b"access-control-allow-credentials: true\r\n" in head
    assert b"vary: Origin\r\n" in head


@pytest.mark.parametrize(
    "origin", [b"https://b.example", b"https://a.example\r\nOrigin: https://b.example", b"null"]
)
async def test_a_page_of_another_origin_may_not(gate, origin):
    client = gate(cors=Cors(origins=("https://a.example",)))
    client.send(b"GET /a b HTTP/1.1\r\nHost: x\r\nOrigin: %b\r\n\r\n" % origin)
    assert b"access-control-allow-origin" not in client.problem(await client.next(), 400)


async def test_every_page_may_where_all_origins_are_allowed(gate):
    client = gate(cors=Cors(origins=("*",)))
    client.send(b"nonsense\r\n\r\n")
    assert b"access-control-allow-origin: *\r\n" in client.problem(await client.next(), 400)


@pytest.mark.parametrize("leave", ["connection_lost", "eof_received"])
async def test_a_leg_that_gives_way_to_another_when_it_is_cancelled_is_not_kept(client, leave):
    leg = client.send(CHUNKED)
    transit = leg.downstream
    leg.cancel = lambda: setattr(transit, "leg", leg)  # as a connection does that gets a leg of its own
    getattr(client.protocol, leave)(*[None] * (leave == "connection_lost"))
    assert transit.leg is None
    assert [record.status for record in client.log] == [499]


async def test_a_policy_that_fails_is_500(client, monkeypatch, caplog):
    def admit(exchange):
        exchange.request_id, exchange.trusted = "id", False
        exchange.correlation_id, exchange.traceparent, exchange.client = "id", b"", ""
        exchange.ids = b"x-request-id: id\r\n"
        raise ValueError("broken")

    monkeypatch.setattr(type(client.bench.gateway.plan), "admit", lambda self, exchange: admit(exchange))
    client.send(GET)
    client.problem(await client.next(), 500)
    assert "broken" in caplog.text


def needing_a_token(**options):
    return [Route(path="/", service="far", auth="required", **options)]


TOKEN = b"Authorization: Bearer %b\r\n\r\n"


def bearing(data, token):
    return data.replace(b"\r\n\r\n", b"\r\n" + TOKEN % token, 1)


async def test_a_policy_may_wait_and_the_body_with_it(gate):
    client = gate(routes=needing_a_token())
    client.send(bearing(POST % 4, b"fresh") + b"bo")
    client.send(b"dy")
    assert client.upstream.legs == []
    await client.turn()
    assert client.leg.done == [b"bo", b"dy", "end"]
    assert client.leg.exchange.identity.subject == "bob"
    client.leg.answer()
    assert (await client.next()).endswith(b"hello")


async def test_what_it_says_in_the_end_is_the_answer(gate):
    client = gate(routes=needing_a_token())
    client.send(bearing(GET, b"stale"))
    head = client.problem(await client.next(), 401)
    assert b"www-authenticate: Bearer" in head
    assert client.upstream.legs == []


async def test_a_policy_that_fails_while_it_waits_is_500(gate, caplog):
    client = gate(routes=needing_a_token())
    client.bench.tokens.failure = ValueError("broken")
    client.send(bearing(GET, b"stale"))
    client.problem(await client.next(), 500)


async def test_a_client_that_leaves_meanwhile_is_not_answered(gate):
    client = gate(routes=needing_a_token())
    client.send(bearing(GET, b"fresh"))
    client.protocol.connection_lost(None)
    await client.turn()
    assert client.upstream.legs == []
    assert [record.status for record in client.log] == [499]


async def test_a_body_that_comes_meanwhile_is_bounded(gate):
    client = gate(routes=needing_a_token(), max_body=HIGH_WATER * 4)
    client.send(bearing(CHUNKED, b"fresh") + b"%x\r\n" % (HIGH_WATER * 2))
    client.send(b"x" * (HIGH_WATER + 1))
    assert not client.transport.reading
    await client.turn()
    assert client.transport.reading
    assert client.leg.done == [b"x" * (HIGH_WATER + 1)]


async def test_one_that_grows_too_large_meanwhile_is_413(gate):
    client = gate(routes=needing_a_token(), max_body=3)
    client.send(bearing(CHUNKED, b"fresh") + b"4\r\nbody\r\n")
    client.problem(await client.next(), 413)
    assert client.upstream.legs == []
