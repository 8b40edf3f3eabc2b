"""Server-sent events: a route's time is for the head of such an answer, whatever the way."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route

GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
KINDS = [b"text/event-stream", b"Text/Event-Stream; charset=utf-8"]


class Events:
    """An app, and what it sends when it is told to."""

    def __init__(self, kind):
        self.kind = kind
        self.pieces = asyncio.Queue()
        self.left = asyncio.Event()

    async def __call__(self, scope, receive, send):
        fields = [(b"content-type", self.kind)]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        listening = asyncio.ensure_future(self._listen(receive))
        try:
            while True:
                piece = await self.pieces.get()
                await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})
                if not piece:
                    return
        finally:
            listening.cancel()

    async def _listen(self, receive):
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()
        self.pieces.put_nowait(b"")


@pytest.mark.parametrize("kind", KINDS)
async def test_on_the_short_path_they_go_on(client, kind):
    leg = client.send(GET)
    leg.downstream.head(200, [(b"content-type", kind)], None)
    leg.downstream.feed(b"data: 1\n\n")
    await client.next()
    await client.wait(1000.0)
    leg.downstream.feed(b"data: 2\n\n")
    assert await client.next() == b"9\r\ndata: 2\n\n\r\n"
    leg.downstream.end()
    assert await client.next() == b"0\r\n\r\n"
    assert [(record.status, record.error) for record in client.log] == [(200, "")]


@pytest.mark.parametrize("kind", KINDS)
async def test_those_of_an_app_go_on(gate, kind):
    app = Events(kind)
    client = gate(routes=[Route(path="/", service="near")], others={"near": LocalUpstream(app)})
    client.send(GET)
    app.pieces.put_nowait(b"data: 1\n\n")
    assert (await client.next()).endswith(b"9\r\ndata: 1\n\n\r\n")
    for _ in range(30):
        await client.wait(1.0)
    app.pieces.put_nowait(b"data: 2\n\n")
    assert await client.next() == b"9\r\ndata: 2\n\n\r\n"
    app.pieces.put_nowait(b"")
    assert await client.next() == b"0\r\n\r\n"
    assert [(record.status, record.error) for record in client.log] == [(200, "")]


async def test_a_client_that_leaves_then_is_noticed(gate):
    app = Events(b"text/event-stream")
    client = gate(routes=[Route(path="/", service="near")], others={"near": LocalUpstream(app)})
    client.send(GET)
    for _ in range(30):
        await client.wait(1.0)
    client.protocol.connection_lost(None)
    async with asyncio.timeout(60):
        await app.left.wait()
    await client.turn()
    assert [record.status for record in client.log] == [200]
    assert not client.port.state.tasks


async def test_the_head_has_to_come_in_time(gate):
    client = gate()
    client.send(GET)
    await client.wait()
    client.problem(await client.next(), 504)


@pytest.mark.parametrize("kind", [b"text/plain", b"text/event-streams"])
async def test_other_answers_have_no_more_time_than_the_route(client, kind):
    leg = client.send(GET)
    leg.downstream.head(200, [(b"content-type", kind)], None)
    await client.turn()
    await client.wait()
    assert client.transport.state == "aborted"
