"""Policies of a user's own that do what they must not: on the short path, behind it, and over ASGI alone."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType

import pytest

from micro.gateway.exchange import Answer
from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route

GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
WEBSOCKET = (
    b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Waits:
    """Doesn't decide before it is told to."""

    ends: list[str] = []  # noqa: RUF012 # the tests read it
    go: asyncio.Event

    async def on_request(self, exchange):
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("decided")


class Stubborn:
    """Goes on when it is cancelled."""

    async def on_request(self, exchange):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


class Cancels:
    async def on_request(self, exchange):
        raise asyncio.CancelledError


class Says:
    async def on_request(self, exchange):
        return "hello"


class SaysAtOnce:
    def on_request(self, exchange):
        return "hello"


class Subclass(Answer):
    pass


class AnswersInItsWay:
    def on_request(self, exchange):
        return Subclass(418)


class AnswersInText:
    def on_request(self, exchange):
        return Answer(200, [("x-a", "b")])


class AnswersWithTextInside:
    def on_request(self, exchange):
        return Answer(200, body="hello")


class AnswersNoStatus:
    def on_request(self, exchange):
        return Answer("200")


class Raises:
    def on_response(self, exchange):
        raise KeyError("broken")


class Text:
    def on_response(self, exchange):
        exchange.fields.append(("x-str", "text"))


class Break:
    def on_response(self, exchange):
        exchange.fields.append((b"x-a", b"b\r\nc: d"))


class NoStatus:
    def on_response(self, exchange):
        exchange.status = 99


class Filter:
    """A body filter; see `pipeline.BodyFilter`."""

    def feed(self, data):
        return data

    def end(self):
        return b""


class FilterRaises(Filter):
    def on_response(self, exchange):
        return self if exchange.status == 200 else None

    def feed(self, data):
        raise KeyError("broken")


class FilterRaisesInTheEnd(FilterRaises):
    def feed(self, data):
        return data

    def end(self):
        raise KeyError("broken")


class FilterOfText(FilterRaises):
    def feed(self, data):
        return data.decode()


class FilterOfAllAnswers(FilterRaises):
    def on_response(self, exchange):
        return self


MODULE = {name: each for name, each in globals().items() if isinstance(each, type)}


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    """A module of the user's that everything here stands in."""
    module = ModuleType("shop")
    vars(module).update(MODULE)
    monkeypatch.setitem(sys.modules, "shop", module)
    Waits.ends, Waits.go = [], asyncio.Event()


@pytest.fixture(params=["short", "behind", "asgi"])
def ask(request, gate, echo):
    """`ask(policy)` is a client whose requests meet that policy, on their way to a service that says hello."""

    def make(*names, **options):
        policies = tuple(f"shop:{name}" for name in names)
        routes = [Route(path="/far", service="far")] if request.param == "behind" else []
        service = "far" if request.param == "short" else "near"
        routes.append(Route(path="/", service=service, policies=policies, **options))
        adapter = "asgi" if request.param == "asgi" else "auto"
        client = gate(routes=routes, others={"near": LocalUpstream(echo)}, adapter=adapter)
        client.upstream.at_once = lambda leg: leg.answer()
        client.way = request.param
        return client

    return make


def recorded(client):
    return [(record.status, record.error) for record in client.log]


# Time.


async def test_a_policy_has_no_more_time_than_the_route(ask, caplog):
    client = ask("Waits")
    client.send(GET)
    await client.wait(14.0)
    assert await client.next() == b""
    await client.wait(2.0)
    head = client.problem(await client.next(), 504)
    assert b"proxy-status: micro; error=proxy_internal_response" in head
    assert recorded(client) == [(504, "proxy_internal_response")]
    assert Waits.ends == ["cancelled"]
    assert "the policies did not decide" in caplog.text
    assert client.protocol.idle


async def test_its_time_is_not_the_clients_fault(ask):
    client = ask("Waits")
    client.send(POST + b"bo")
    await client.wait()
    client.problem(await client.next(), 504)


async def test_one_that_goes_on_when_it_is_cancelled_changes_nothing(ask):
    client = ask("Stubborn")
    client.send(GET)
    await client.wait()
    client.problem(await client.next(), 504)
    assert client.upstream.legs == []
    assert recorded(client) == [(504, "proxy_internal_response")]


async def test_where_the_route_has_no_limit_it_may_take_all_the_time(ask):
    client = ask("Waits", timeout=0.0)
    client.send(GET)
    await client.wait(1000.0)
    Waits.go.set()
    assert (await client.next()).endswith(b"hello")


async def test_what_it_took_is_missing_for_the_service(gate):
    client = gate(routes=[Route(path="/", service="far", policies=("shop:Waits",))])
    client.send(GET)
    await client.wait(10.0)
    Waits.go.set()
    await client.turn()
    assert client.leg.done == []
    await client.wait(6.0)
    head = client.problem(await client.next(), 504)
    assert b"http_response_timeout" in head
    assert client.leg.done == ["cancel"]


async def test_a_policy_is_not_asked_any_more_when_the_client_has_left(ask):
    client = ask("Waits")
    client.send(GET)
    await client.turn()
    client.protocol.connection_lost(None)
    await client.wait(2.0)
    assert Waits.ends == ["cancelled"]
    assert recorded(client) == [(499, "")]
    await client.wait()
    assert recorded(client) == [(499, "")]


async def test_nor_when_the_server_stops(ask):
    client = ask("Waits")
    client.send(GET)
    await client.turn()
    for task in tuple(client.port.state.tasks):
        task.cancel()
    await client.turn()
    assert Waits.ends == ["cancelled"]
    assert len(client.log) == 1
    assert client.transport.state != "open"


async def test_one_that_has_decided_lets_the_request_go_on(ask):
    client = ask("Waits")
    client.send(GET)
    await client.wait(5.0)
    Waits.go.set()
    assert (await client.next()).endswith(b"hello")
    await client.wait()
    assert recorded(client) == [(200, "")]


# What it says.


@pytest.mark.parametrize(
    "policy",
    ["Says", "SaysAtOnce", "Cancels", "AnswersInText", "AnswersWithTextInside", "AnswersNoStatus"],
)
async def test_what_is_no_answer_is_500(ask, policy, caplog):
    client = ask(policy)
    client.send(GET)
    head = client.problem(await client.next(), 500)
    assert b"proxy-status: micro; error=proxy_internal_error" in head
    assert recorded(client) == [(500, "proxy_internal_error")]
    assert caplog.text


async def test_an_answer_of_a_class_of_its_own_is_one(ask):
    client = ask("AnswersInItsWay")
    client.send(GET)
    assert (await client.next()).startswith(b"HTTP/1.1 418 ")


@pytest.mark.parametrize("policy", ["Raises", "Text", "Break", "NoStatus"])
async def test_one_that_fails_on_an_answer_is_500_and_the_service_is_not_blamed(ask, policy, caplog):
    client = ask(policy)
    client.send(GET)
    head = client.problem(await client.next(), 500)
    assert b"proxy-status: micro; error=proxy_internal_error" in head
    assert recorded(client) == [(500, "proxy_internal_error")]
    assert "a policy failed" in caplog.text
    assert "gave no answer" not in caplog.text
    assert b"c: d" not in head
    assert client.protocol.idle


@pytest.mark.parametrize("policy", ["FilterRaises", "FilterRaisesInTheEnd", "FilterOfText"])
async def test_a_filter_that_fails_is_500_as_long_as_nothing_was_sent(ask, policy, caplog):
    client = ask(policy)
    client.send(GET)
    written = await client.next()
    if client.way == "short":
        client.problem(written, 500)
        assert recorded(client) == [(500, "proxy_internal_error")]
    else:
        assert written == b""
        assert client.transport.state == "aborted"
        assert recorded(client) == [(200, "proxy_internal_error")]
    assert "a policy failed" in caplog.text
    assert "broke its answer off" not in caplog.text
    assert "the application failed" not in caplog.text


async def test_one_that_fails_later_breaks_the_connection_off(gate):
    client = gate(routes=[Route(path="/", service="far", policies=("shop:FilterRaises",))])
    leg = client.send(GET)
    leg.head()
    await client.turn()
    leg.downstream.feed(b"hello")
    assert client.transport.state == "aborted"
    assert leg.done == ["cancel"]
    leg.downstream.feed(b"more")
    leg.downstream.end()
    assert recorded(client) == [(200, "proxy_internal_error")]


async def test_one_that_fails_on_every_answer_leaves_one_without_policies(ask):
    client = ask("FilterOfAllAnswers", "SaysAtOnce")
    client.send(GET)
    client.problem(await client.next(), 500)
    assert len(client.log) == 1


@pytest.mark.parametrize("policy", ["Raises", "Break"])
async def test_one_that_fails_on_a_handshake_is_500(gate, policy, caplog):
    client = gate(routes=[Route(path="/", service="far", policies=(f"shop:{policy}",))])
    leg = client.send(WEBSOCKET)
    leg.downstream.head(101, [(b"sec-websocket-accept", b"x")], None)
    client.problem(await client.next(), 500)
    assert leg.done == ["cancel"]
    assert recorded(client) == [(500, "proxy_internal_error")]
