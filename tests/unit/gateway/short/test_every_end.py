"""Every way in which an exchange can end: it is recorded once, and is in hand no more."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType

import pytest

from micro.gateway.exchange import Answer
from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route
from micro.spec.upstream import BreakerSpec

GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
WEBSOCKET = (
    b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BREAKER = BreakerSpec(failure_rate=50, requests=2, window=10.0, open=5.0)


class Slow:
    """Decides when it is told to."""

    go: asyncio.Event
    answer: Answer | None = None

    async def on_request(self, exchange):
        await self.go.wait()
        return self.answer


class Raises:
    def on_response(self, exchange):
        raise KeyError("broken")


class RaisesLast:
    """Fails when it is told of the end."""

    def on_end(self, exchange):
        raise KeyError("broken")


class Grows:
    """A body filter that fails on the second piece."""

    count = 0

    def on_response(self, exchange):
        return self

    def feed(self, data):
        self.count += 1
        if self.count == 2:
            raise KeyError("broken")
        return data

    def end(self):
        return b""


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    module = ModuleType("shop")
    for each in (Slow, Raises, RaisesLast, Grows):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "shop", module)
    monkeypatch.setattr(Slow, "answer", None)
    Slow.go = asyncio.Event()


# What happens to a request; each a client's, with a leg where it came so far.


async def whole(client):
    client.send(GET).downstream.head(200, [(b"content-length", b"5")], 5, body=b"hello")


async def streamed(client):
    client.send(GET).head()
    await client.turn()
    client.leg.downstream.feed(b"hello")
    client.leg.downstream.end()


async def failing(client):
    client.send(GET).fail()


async def failing_at_once(client):
    client.upstream.at_once = lambda leg: leg.fail()
    client.send(GET)


async def answering_at_once(client):
    client.upstream.at_once = lambda leg: leg.answer()
    client.send(GET)


async def breaking_off(client):
    client.send(GET).head(length=9)
    await client.turn()
    client.leg.downstream.feed(b"hello")
    client.leg.fail()


async def breaking_off_before_the_head_is_sent(client):
    client.send(GET).head(length=9)
    client.leg.fail()


async def falling_short(client):
    client.send(GET).head(length=9)
    client.leg.downstream.end()


async def overrunning(client):
    client.send(GET).head(length=3)
    client.leg.downstream.feed(b"hello")
    client.leg.downstream.end()


async def left(client):
    client.send(GET)
    client.protocol.connection_lost(None)


async def left_while_it_is_answered(client):
    client.send(GET).head()
    await client.turn()
    client.protocol.connection_lost(None)


async def left_within_a_turn(client):
    client.send(GET).head()
    client.protocol.connection_lost(None)


async def left_while_it_sends(client):
    client.send(POST + b"bo")
    client.protocol.eof_received()


async def too_late(client):
    client.send(GET)
    await client.wait()


async def too_late_to_end(client):
    client.send(GET).head()
    await client.wait()


async def a_body_too_late(client):
    client.send(POST + b"bo")
    await client.wait()


async def a_body_too_slow(client):
    client.send(POST + b"bo")
    for tick in range(1, 12):
        client.protocol.look(tick)


async def a_body_too_large(client):
    client.send(CHUNKED + b"5\r\nhello\r\n5\r\nhello\r\n")


async def a_body_too_large_while_it_is_answered(client):
    client.send(CHUNKED)
    client.leg.head()
    await client.turn()
    client.send(b"5\r\nhello\r\n5\r\nhello\r\n")


async def a_body_announced_too_large(client):
    client.send(POST.replace(b"4", b"40"))


async def a_body_that_is_none(client):
    client.send(CHUNKED + b"x\r\n")


async def a_body_that_is_none_while_it_is_answered(client):
    client.send(CHUNKED)
    client.leg.head()
    await client.turn()
    client.send(b"x\r\n")


async def an_answer_before_the_body(client):
    client.send(POST).answer()
    client.send(b"body")


async def a_tunnel_that_the_instance_ends(client):
    client.send(WEBSOCKET).downstream.head(101, [], None)
    client.leg.downstream.end()


async def a_tunnel_that_the_client_ends(client):
    client.send(WEBSOCKET).downstream.head(101, [], None)
    client.protocol.eof_received()
    client.leg.downstream.end()
    client.protocol.connection_lost(None)


async def a_tunnel_that_breaks(client):
    client.send(WEBSOCKET).downstream.head(101, [], None)
    client.leg.fail()


async def a_tunnel_whose_client_is_lost(client):
    client.send(WEBSOCKET).downstream.head(101, [], None)
    client.protocol.connection_lost(None)
    client.leg.downstream.end()


async def a_server_that_stops(client):
    client.send(GET)
    client.protocol.shutdown()
    client.leg.answer()


async def a_connection_that_is_cut_off(client):
    client.send(GET)
    client.protocol.abort()
    client.protocol.connection_lost(None)


async def a_client_that_takes_nothing(client):
    client.send(GET).head()
    client.protocol.pause_writing()
    client.transport.get_write_buffer_size = lambda: 1 << 20
    for tick in range(1, 12):
        client.protocol.look(tick)


ENDS = [
    each
    for each in list(globals().values())
    if asyncio.iscoroutinefunction(each) and each is not Slow.on_request
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_every_exchange_is_recorded_once(gate, end, caplog):
    route = Route(path="/", service="far", max_body=9, breaker=BREAKER, policies=("shop:RaisesLast",))
    client = gate(routes=[route], max_requests=1)
    await end(client)
    await client.turn()
    await ended_once(client)


WAITING = [
    left,
    left_while_it_sends,
    too_late,
    a_body_too_slow,
    a_body_that_is_none,
    a_connection_that_is_cut_off,
]


@pytest.mark.parametrize("end", WAITING, ids=lambda end: end.__name__)
async def test_so_is_one_that_policies_have_not_decided_on(gate, end):
    client = gate(routes=[Route(path="/", service="far", policies=("shop:Slow",))], max_requests=1)
    await end(client)
    await client.turn()
    assert client.upstream.legs == []
    Slow.go.set()
    await ended_once(client)
    assert client.upstream.legs == []


@pytest.mark.parametrize("answer", [None, Answer(403, body=b"no")])
async def test_so_is_one_that_they_have_decided_on(gate, answer, monkeypatch):
    monkeypatch.setattr(Slow, "answer", answer)
    client = gate(routes=[Route(path="/", service="far", policies=("shop:Slow",))], max_requests=1)
    client.upstream.at_once = lambda leg: leg.answer()
    client.send(GET)
    await client.turn()
    Slow.go.set()
    await ended_once(client)


@pytest.mark.parametrize("policy", ["Raises", "Grows"])
@pytest.mark.parametrize("end", [whole, streamed, failing, falling_short], ids=lambda end: end.__name__)
async def test_so_is_one_on_whose_answer_a_policy_fails(gate, end, policy, caplog):
    client = gate(routes=[Route(path="/", service="far", policies=(f"shop:{policy}",))], max_requests=1)
    await end(client)
    await client.turn()
    await ended_once(client)


async def ended_once(client):
    """The exchange has ended, and whatever happens later is not told of it again."""
    await client.turn()
    assert client.bench.gateway._parts.in_hand.count == 0
    assert len(client.log) == 1
    if client.transport.state != "aborted":
        client.transport.state = "open"
    for leg in client.upstream.legs:
        leg.downstream.feed(b"late")
        leg.downstream.end()
        leg.fail()
        leg.downstream.flush()
    if client.protocol in client.port.connections:
        client.protocol.connection_lost(None)
    await client.wait()
    assert len(client.log) == 1
    assert client.bench.gateway._parts.in_hand.count == 0
    assert "micro_gateway_in_flight 0" in client.bench.metrics.render()
    assert not client.port.state.tasks


# What the application goes on with.


class Taker:
    """A WebSocket protocol class that finds the handshake wrong."""

    def __init__(self, config, server_state, app_state):
        Taker.app = config.loaded_app

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.transport.close()


@pytest.mark.parametrize("policies", [(), ("shop:Slow",)])
async def test_a_handshake_that_is_none_is_recorded_though_the_application_is_not_asked(gate, echo, policies):
    near = LocalUpstream(echo)
    routes = [Route(path="/a", service="near", policies=policies), Route(path="/far", service="far")]
    client = gate(routes=routes, others={"near": near}, max_requests=1)
    client.port.config.ws_protocol_class = Taker
    client.send(WEBSOCKET)
    assert [(record.status, record.error) for record in client.log] == [(400, "http_request_error")]
    await ended_once(client)


async def test_an_application_that_is_asked_all_the_same_does_not_record_it_again(gate, echo):
    routes = [Route(path="/a", service="near"), Route(path="/far", service="far")]
    client = gate(routes=routes, others={"near": LocalUpstream(echo)}, max_requests=1)
    client.port.config.ws_protocol_class = Taker
    client.send(WEBSOCKET)
    await Taker.app({"type": "websocket"}, None, None)
    assert echo.scopes == []
    await ended_once(client)


async def test_the_trial_of_a_breaker_may_go_on_by_the_application(gate):
    async def app(scope, receive, send):
        raise RuntimeError("down")

    near = LocalUpstream(app)
    routes = [Route(path="/a", service="near", breaker=BREAKER), Route(path="/far", service="far")]
    client = gate(routes=routes, others={"near": near})

    async def status():
        client.send(GET)
        return (await client.next())[9:12]

    assert [await status() for _ in range(3)] == [b"502", b"502", b"503"]

    async def well(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    near.replace(well)
    await client.bench.clock.advance(5)
    assert [await status() for _ in range(3)] == [b"200", b"200", b"200"]


async def test_a_body_that_comes_too_slowly_is_recorded_as_what_the_client_was_told(gate, echo):
    client = gate(routes=[Route(path="/", service="near")], others={"near": LocalUpstream(echo)})
    client.send(POST.replace(b"4", b"9000") + b"bo")
    await client.turn()
    for tick in range(1, 12):
        client.protocol.look(tick)
    client.transport.state = "open"
    assert (await client.next()).startswith(b"HTTP/1.1 408 ")
    assert [(record.status, record.error) for record in client.log] == [(408, "http_request_error")]


async def test_an_answer_that_is_cut_off_is_told_of_once(gate, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        await asyncio.Event().wait()

    client = gate(routes=[Route(path="/", service="near")], others={"near": LocalUpstream(app)})
    client.send(GET)
    await client.wait()
    assert client.transport.state == "aborted"
    assert [record.message for record in caplog.records] == [
        "an answer of near took longer than its route allows"
    ]
