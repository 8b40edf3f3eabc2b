"""A WebSocket to an instance in ASGI's messages."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from micro.gateway.upstream.frames import MAX_MESSAGE
from micro.gateway.upstream.ports import UpstreamError

DENIAL = {"websocket.http.response": {}}


class Caller:
    """An ASGI server's side of one WebSocket."""

    def __init__(self, exchange, there, *, extensions=None, subprotocols=("chat", "other")):
        self.exchange = exchange
        exchange.scope = {
            "type": "websocket",
            "subprotocols": list(subprotocols),
            "extensions": extensions or {},
        }
        self.sent = []
        self.incoming = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.news = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()
        self.task = asyncio.create_task(self._run(there))

    async def _run(self, there):
        await there.upstream.serve(self.exchange, self.receive, self.send)

    async def receive(self):
        message = await self.incoming.get()
        if isinstance(message, Exception):
            raise message
        return message

    def say(self, **message):
        self.incoming.put_nowait({"type": "websocket.receive", **message})

    def leave(self, code, reason=""):
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def send(self, message):
        await self.taking.wait()
        self.sent.append(message)
        self.news.set()

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def done(self):
        async with asyncio.timeout(60):
            await self.task
        return self.sent


class Instance:
    """The instance's end, by the library's own server."""

    def __init__(self, peer):
        self.peer = peer
        self.protocol = ServerProtocol(subprotocols=["chat"], max_size=None)
        self.events = []

    async def shake(self, *, headers=()):
        self.request = await self.pump(Request)
        response = self.protocol.accept(self.request)
        for name, value in headers:
            response.headers[name] = value
        self.protocol.send_response(response)
        await self.flush()
        return self

    async def flush(self):
        for data in self.protocol.data_to_send():
            if data:
                await self.peer.send(data)

    async def pump(self, kind=Frame):
        """The next event."""
        async with asyncio.timeout(60):
            while not self.events:
                data = await self.peer.reader.read(65536)
                if not data:
                    return None
                self.protocol.receive_data(data)
                self.events += self.protocol.events_received()
                if kind is Frame:
                    await self.flush()
        return self.events.pop(0)

    async def send(self, method, *arguments, **more):
        getattr(self.protocol, method)(*arguments, **more)
        await self.flush()


@pytest.fixture
async def caller(exchange_of):
    made = []

    def make(there, headers=(), **more):
        asks = [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-key", b"theirs"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-protocol", b"chat, other"),
            (b"sec-websocket-extensions", b"permessage-deflate"),
        ]
        made.append(Caller(exchange_of(headers=[*asks, *headers]), there, **more))
        return made[-1]

    yield make
    tasks = [client.task for client in made]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def joined(bench, origin, caller):
    """Both ends of a WebSocket that stands."""

    async def join(**settings):
        there = bench(**settings)
        client = caller(there, [(b"x-a", b"1"), (b"origin", b"https://shop.example")])
        instance = await Instance(await origin.peer()).shake(headers=[("X-B", "2")])
        await client.until(lambda: client.sent)
        client.there = there
        return client, instance

    return join


async def test_the_handshake_is_the_gateway_s_own_with_the_client_s_subprotocols(joined):
    client, instance = await joined()
    headers = instance.request.headers
    assert headers["x-a"] == "1"
    assert headers["origin"] == "https://shop.example"
    assert headers["sec-websocket-protocol"] == "chat, other"
    assert headers["x-forwarded-for"] == "203.0.113.7"
    assert headers["sec-websocket-key"] != "theirs"
    assert "sec-websocket-extensions" not in headers
    assert client.sent == [{"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-b", b"2")]}]


async def test_messages_pass_whole_both_ways(joined):
    client, instance = await joined()
    client.say(text="grüße", bytes=None)
    client.say(bytes=b"\0\1")
    frames = [await instance.pump() for _ in range(2)]
    assert [(frame.opcode, bytes(frame.data)) for frame in frames] == [
        (Opcode.TEXT, "grüße".encode()),
        (Opcode.BINARY, b"\0\1"),
    ]
    await instance.send("send_text", b"in ", fin=False)
    await instance.send("send_ping", b"?")
    await instance.send("send_continuation", b"pieces", fin=True)
    await instance.send("send_binary", b"\2")
    await client.until(lambda: len(client.sent) == 3)
    assert client.sent[1:] == [
        {"type": "websocket.send", "text": "in pieces"},
        {"type": "websocket.send", "bytes": b"\2"},
    ]
    assert (await instance.pump()).opcode is Opcode.PONG


@pytest.mark.parametrize(("code", "reason"), [(4001, "bye"), (1000, "")])
async def test_the_instance_s_close_code_and_reason_arrive(joined, code, reason):
    client, instance = await joined()
    await instance.send("send_close", code, reason)
    assert (await client.done())[-1] == {"type": "websocket.close", "code": code, "reason": reason}
    assert (await instance.pump()).opcode is Opcode.CLOSE
    assert client.there.in_flight == 0


async def test_a_close_without_a_code_is_a_normal_one(joined):
    client, instance = await joined()
    await instance.send("send_close")
    assert (await client.done())[-1]["code"] == 1000


@pytest.mark.parametrize(
    ("code", "said"), [(4002, Close(4002, "off")), (1005, Close(1005, "")), (1006, Close(1005, ""))]
)
async def test_the_client_s_close_code_and_reason_arrive(joined, code, said):
    client, instance = await joined()
    client.leave(code, "off")
    await client.done()
    assert (await instance.pump()).opcode is Opcode.CLOSE
    assert instance.protocol.close_rcvd == said
    assert client.there.in_flight == 0


async def test_an_instance_that_leaves_without_a_word_is_a_failure(joined):
    client, instance = await joined()
    instance.peer.close()
    with pytest.raises(UpstreamError) as caught:
        await client.done()
    assert caught.value.kind == "connection_terminated"


async def test_a_message_that_is_too_long_ends_both_sides(joined):
    client, instance = await joined()
    await instance.peer.send(b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big"))
    assert (await client.done())[-1]["code"] == 1009
    frame = await instance.pump()
    assert (frame.opcode, bytes(frame.data[:2])) == (Opcode.CLOSE, (1009).to_bytes(2, "big"))


@pytest.mark.parametrize("wire", [b"\x81\x01\xff", b"\xf1\x01a"])
async def test_what_is_no_websocket_ends_both_sides(joined, wire):
    client, instance = await joined()
    await instance.peer.send(wire)
    with pytest.raises(UpstreamError) as caught:
        await client.done()
    assert caught.value.kind == "http_protocol_error"
    assert (await instance.pump()).opcode is Opcode.CLOSE


async def test_a_refusal_passes_where_the_server_can_send_it(bench, origin, caller):
    client = caller(bench(), extensions=DENIAL)
    await origin.answer(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
    assert await client.done() == [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-length", b"2")]},
        {"type": "websocket.http.response.body", "body": b"no", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"", "more_body": False},
    ]


async def test_a_refusal_is_a_close_where_it_can_not(bench, origin, caller):
    client = caller(bench())
    await origin.answer(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
    assert await client.done() == [{"type": "websocket.close"}]


@pytest.mark.parametrize("fields", [b"sec-websocket-accept: wrong", b"sec-websocket-protocol: nobody-asked"])
async def test_a_handshake_that_is_not_right_is_refused(bench, origin, caller, fields):
    client = caller(bench())
    await origin.answer(
        b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n" + fields + b"\r\n\r\n"
    )
    with pytest.raises(UpstreamError) as caught:
        await client.done()
    assert caught.value.kind == "http_upgrade_failed"


async def test_a_client_that_leaves_before_the_handshake_takes_it_back(bench, origin, caller):
    there = bench()
    client = caller(there)
    peer = await origin.peer()
    await peer.request()
    client.leave(1006)
    await client.done()
    assert await peer.end() == b""
    assert there.in_flight == 0


async def test_what_the_server_raises_passes(joined):
    client, instance = await joined()
    client.incoming.put_nowait(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await client.done()
    assert await instance.pump() is None


async def test_to_be_cancelled_ends_both_sides(joined):
    client, instance = await joined()
    client.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    assert await instance.pump() is None
    assert client.there.in_flight == 0


async def test_an_instance_waits_for_a_client_that_is_full(joined):
    client, instance = await joined()
    client.taking.clear()
    message, sent = b"x" * 100_000, 0
    while instance.peer.writer.transport.get_write_buffer_size() < 1_000_000:
        instance.protocol.send_binary(message)
        instance.peer.writer.write(b"".join(instance.protocol.data_to_send()))
        sent += 1
        assert sent < 1000, "the gateway has read all of it"
        await asyncio.wait({asyncio.ensure_future(_turn())})
    client.taking.set()
    await client.until(lambda: len(client.sent) == sent + 1)


async def test_a_client_waits_for_an_instance_that_is_full(joined):
    client, instance = await joined()
    instance.peer.writer.transport.pause_reading()
    for _ in range(100):
        client.say(bytes=b"x" * 100_000)
    while client.incoming.qsize() > 98:
        await asyncio.wait({asyncio.ensure_future(_turn())})
    for _ in range(50):
        await asyncio.wait({asyncio.ensure_future(_turn())})
    assert client.incoming.qsize() > 0
    instance.peer.writer.transport.resume_reading()
    for _ in range(100):
        assert len((await instance.pump()).data) == 100_000
    assert instance.protocol.state is State.OPEN


async def _turn():
    """Let the event loop go round."""


async def test_nothing_more_is_sent_to_an_instance_that_closes(joined):
    client, instance = await joined()
    client.taking.clear()
    await instance.send("send_close", 1000, "")
    assert (await instance.pump()).opcode is Opcode.CLOSE
    client.say(text="too late")
    client.taking.set()
    await client.done()
    assert await instance.pump() is None
