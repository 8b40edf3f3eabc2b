"""WebSockets: the same pipeline up to the upstream, then both directions as they are."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.flow import GRACE
from micro.spec.gateway import Route
from micro.spec.terms import Rate

DENIAL = {"websocket.http.response": {}}


class Socket:
    """A client's end of one WebSocket."""

    def __init__(self, bench, headers=(), *, extensions=None, target=b"/"):
        self.sent = []
        self.incoming = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.failing = False
        pairs = [(name.encode(), value.encode()) for name, value in [("host", "localhost"), *headers]]
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": target.decode(),
            "raw_path": target,
            "query_string": b"q=1",
            "root_path": "",
            "headers": pairs,
            "client": ("203.0.113.7", 1),
            "server": ("127.0.0.1", 8000),
            "subprotocols": ["chat", "other"],
            "extensions": DENIAL if extensions is None else extensions,
        }
        self.task = asyncio.create_task(bench.gateway(scope, self.incoming.get, self.send))

    async def send(self, message):
        if self.failing:
            raise OSError("gone")
        self.sent.append(message)

    async def end(self):
        async with asyncio.timeout(60):
            await self.task
        return self.sent


def headers_of(message):
    return dict(message["headers"])


async def echo(scope, receive, send):
    """Accept, then give back what comes until the client leaves."""
    echo.scope = scope
    assert (await receive())["type"] == "websocket.connect"
    await send(
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1"), (b"upgrade", b"x")]}
    )
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "bye"})
            return
        await send({"type": "websocket.send", "text": message["text"]})


async def test_messages_pass_both_ways_and_the_close_code_arrives(bench):
    bench.serve(echo)
    socket = Socket(bench, [("x-correlation-id", "mine"), ("x-user-id", "1")])
    for text in ("one", "two", "bye"):
        socket.incoming.put_nowait({"type": "websocket.receive", "text": text})
    accept, *rest = await socket.end()
    assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", "chat")
    assert headers_of(accept)[b"x-correlation-id"] == b"mine"
    assert headers_of(accept)[b"x-a"] == b"1"
    assert b"upgrade" not in headers_of(accept)
    assert [message.get("text") for message in rest] == ["one", "two", None]
    assert (rest[-1]["code"], rest[-1]["reason"]) == (4001, "bye")
    assert (bench.log[0].status, bench.log[0].method, bench.log[0].upstream) == (101, "GET", "app")


async def test_the_service_gets_the_scope_of_a_websocket(bench):
    bench.serve(echo)
    socket = Socket(bench, [("x-user-id", "1"), ("sec-websocket-protocol", "chat")])
    socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await socket.end()
    scope = echo.scope
    assert (scope["type"], scope["scheme"], scope["subprotocols"]) == ("websocket", "ws", ["chat", "other"])
    assert scope["query_string"] == b"q=1"
    assert scope["extensions"] == DENIAL
    assert "method" not in scope
    names = [name for name, _ in scope["headers"]]
    assert b"x-user-id" not in names
    assert {b"sec-websocket-protocol", b"x-request-id", b"traceparent", b"via"} <= set(names)
    assert scope["micro.context"].request_id == bench.log[0].request_id


@pytest.mark.parametrize(
    ("headers", "target", "status"),
    [
        ([], b"/", 401),
        ([("authorization", "Bearer bad")], b"/", 401),
        ([("host", "x")], b"/", 400),
        ([], b"/a/../b", 400),
    ],
)
async def test_a_refusal_is_a_problem_where_the_server_can_send_one(bench, headers, target, status):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")])
    head, body = await Socket(bench, headers, target=target).end()
    assert (head["type"], head["status"]) == ("websocket.http.response.start", status)
    assert headers_of(head)[b"content-type"] == b"application/problem+json"
    assert b"x-request-id" in headers_of(head)
    assert body["type"] == "websocket.http.response.body"
    assert str(status).encode() in body["body"]
    assert bench.log[0].status == status


async def test_a_refusal_closes_the_handshake_otherwise(bench):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")])
    assert await Socket(bench, extensions={}).end() == [{"type": "websocket.close"}]
    assert bench.log[0].status == 403


async def test_a_handshake_counts_against_the_limit(bench):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    first = Socket(bench)
    first.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    accept, *_ = await first.end()
    assert headers_of(accept)[b"ratelimit"] == b'"default";r=0;t=60'
    head, _ = await Socket(bench).end()
    assert head["status"] == 429


async def test_the_deadline_is_for_the_handshake(bench):
    async def slow(scope, receive, send):
        await asyncio.Event().wait()

    bench.serve(slow, routes=[Route(path="/", service="app", timeout=2.0)])
    socket = Socket(bench)
    await bench.clock.advance(3)
    head, _ = await socket.end()
    assert head["status"] == 504


async def test_an_accepted_socket_lives_beyond_the_deadline(bench):
    bench.serve(echo, routes=[Route(path="/", service="app", timeout=2.0)])
    socket = Socket(bench)
    await bench.clock.advance(3600)
    socket.incoming.put_nowait({"type": "websocket.receive", "text": "still here"})
    socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    assert (await socket.end())[-1]["text"] == "still here"
    assert bench.log[0].duration_ms >= 3_600_000


async def test_a_service_may_refuse_the_handshake(bench):
    async def refuse(scope, receive, send):
        await receive()
        await send({"type": "websocket.close", "code": 1008})

    bench.serve(refuse)
    assert [message["type"] for message in await Socket(bench).end()] == ["websocket.close"]
    assert bench.log[0].status == 403


async def test_a_service_may_refuse_with_an_answer(bench):
    async def refuse(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 402, "headers": [(b"x-a", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"pay", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"!"})

    bench.serve(refuse)
    head, *body = await Socket(bench).end()
    assert (head["status"], headers_of(head)[b"x-a"]) == (402, b"1")
    assert b"x-request-id" in headers_of(head)
    assert b"".join(part["body"] for part in body) == b"pay!"
    assert bench.log[0].status == 402


async def test_a_service_that_fails_closes_the_clients_side(bench, caplog):
    async def fail(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        raise RuntimeError("oops")

    bench.serve(fail)
    accept, close = await Socket(bench).end()
    assert (accept["type"], close) == ("websocket.accept", {"type": "websocket.close", "code": 1011})
    assert "oops" in caplog.text


async def test_a_service_that_just_returns_closes_normally(bench, caplog):
    async def leave(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})

    bench.serve(leave)
    assert (await Socket(bench).end())[-1] == {"type": "websocket.close", "code": 1000}
    assert caplog.records


@pytest.mark.parametrize("message", ["websocket.send", "http.response.start", None])
async def test_a_service_without_a_handshake_is_502(bench, message, caplog):
    async def rude(scope, receive, send):
        if message is not None:
            await send({"type": message, "text": "hi"})

    bench.serve(rude)
    head, _ = await Socket(bench).end()
    assert head["status"] == 502
    assert caplog.records


async def test_a_client_that_leaves_ends_a_service_that_does_not_listen(bench):
    async def deaf(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "dropped"})
        await asyncio.Event().wait()

    bench.serve(deaf)
    socket = Socket(bench)
    socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await bench.clock.advance(GRACE + 1)
    assert [message["type"] for message in await socket.end()] == ["websocket.accept"]


async def test_a_server_that_says_by_an_error_that_the_client_left_is_understood(bench):
    async def stubborn(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        socket.failing = True
        await send({"type": "websocket.send", "text": "x"})

    bench.serve(stubborn)
    socket = Socket(bench)
    assert [message["type"] for message in await socket.end()] == ["websocket.accept"]


@pytest.mark.parametrize("target", [b"/health", b"/docs"])
async def test_the_gateways_own_endpoints_are_no_websockets(bench, target):
    bench.serve(echo)
    assert [message["type"] for message in await Socket(bench, target=target).end()] == ["websocket.close"]
