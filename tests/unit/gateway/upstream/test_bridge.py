"""The same upstream in ASGI's messages."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.upstream.ports import UpstreamError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: 1\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Caller:
    """An ASGI server's side of one request."""

    def __init__(self, exchange_of, there, method="GET", headers=(), body=(), **more):
        self.exchange = exchange_of(method=method, headers=headers, **more)
        self.exchange.scope = {"type": "http"}
        self.exchange.started = there.clock.monotonic()
        self.asked = 0
        self.sent = []
        self.incoming = asyncio.Queue()
        for piece in body:
            self.push(piece)
        self.taking = asyncio.Event()
        self.taking.set()
        self.news = asyncio.Event()
        self.task = asyncio.create_task(self._run(there))

    async def _run(self, there):
        await there.upstream.serve(self.exchange, self.receive, self.send)

    def push(self, piece, *, last=False):
        self.incoming.put_nowait({"type": "http.request", "body": piece, "more_body": not last})

    def leave(self):
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def receive(self):
        self.asked += 1
        self.news.set()
        message = await self.incoming.get()
        if isinstance(message, Exception):
            raise message
        return message

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

    @property
    def body(self):
        return b"".join(message["body"] for message in self.sent[1:])


@pytest.fixture
def caller(exchange_of):
    return lambda *arguments, **more: Caller(exchange_of, *arguments, **more)


async def test_a_request_and_its_answer_pass(bench, origin, caller):
    there = bench()
    client = caller(there)
    _, request = await origin.answer(OK)
    assert await client.done() == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"5"), (b"x-a", b"1")],
        },
        {"type": "http.response.body", "body": b"hello", "more_body": False},
    ]
    assert request.startswith(b"GET /items/1 HTTP/1.1\r\n")
    assert (client.asked, there.in_flight, there.idle) == (0, 0, 1)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_answer_without_a_body_ends_too(bench, origin, caller, method):
    client = caller(bench(), method)
    await origin.answer(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    start, body = await client.done()
    assert (start["status"], body["body"], body["more_body"]) == (304, b"", False)


async def test_a_body_is_asked_for_piece_by_piece(bench, origin, caller):
    there = bench()
    client = caller(there, "POST", [(b"transfer-encoding", b"chunked")])
    peer = await origin.peer()
    client.push(b"abc")
    await peer.until(b"3\r\nabc\r\n")
    client.push(b"", last=False)
    client.push(b"de", last=True)
    await peer.until(b"2\r\nde\r\n0\r\n\r\n")
    await peer.send(OK)
    await client.done()
    assert client.body == b"hello"
    assert there.idle == 1


async def test_a_later_version_may_have_a_body_without_saying_so(bench, origin, caller):
    client = caller(bench(), "POST", version="2")
    client.push(b"abc", last=True)
    _, request = await origin.answer(OK)
    await client.done()
    assert request.endswith(b"3\r\nabc\r\n0\r\n\r\n")


async def test_b4_every_piece_of_the_answer_passes_at_once(bench, origin, caller):
    client = caller(bench())
    peer, _ = await origin.answer(CHUNKED + b"3\r\none\r\n")
    await client.until(lambda: client.body == b"one")
    await peer.send(b"3\r\ntwo\r\n")
    await client.until(lambda: client.body == b"onetwo")
    await peer.send(b"0\r\n\r\n")
    await client.done()
    assert [message.get("more_body") for message in client.sent] == [None, True, True, False]


async def test_an_instance_waits_for_a_client_that_is_full(bench, origin, caller):
    client = caller(bench())
    peer, _ = await origin.answer(CHUNKED)
    await client.until(lambda: client.sent)
    client.taking.clear()
    piece, sent = b"%x\r\n%b\r\n" % (100_000, b"a" * 100_000), 0
    while peer.writer.transport.get_write_buffer_size() < 1_000_000:
        peer.writer.write(piece)
        sent += 1
        assert sent < 1000, "the gateway has read all of it"
        await asyncio.wait({asyncio.ensure_future(origin_turn())})
    client.taking.set()
    await peer.send(b"0\r\n\r\n")
    await client.done()
    assert len(client.body) == sent * 100_000


async def origin_turn():
    """Let the event loop go round."""


async def test_a_client_is_asked_for_no_more_than_the_instance_takes(bench, origin, caller):
    client = caller(bench(), "POST", [(b"content-length", b"50000000")], [b"a" * 1_000_000] * 50)
    peer = await origin.peer()
    peer.writer.transport.pause_reading()
    await client.until(lambda: client.asked >= 2)
    for _ in range(100):
        await origin_turn()
    asked = client.asked
    assert asked < 50
    peer.writer.transport.resume_reading()
    await peer.until(b"\r\n\r\n")
    await peer.exactly(50_000_000)
    client.push(b"", last=True)
    await peer.send(OK)
    await client.done()
    assert client.body == b"hello"


async def test_b2_a_client_that_waits_is_asked_when_the_instance_says_so(bench, origin, caller):
    client = caller(bench(), "POST", [(b"content-length", b"3"), (b"expect", b"100-continue")])
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    assert client.asked == 0
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await client.until(lambda: client.asked)
    client.push(b"abc", last=True)
    assert await peer.exactly(3) == b"abc"
    await peer.send(OK)
    start, *_ = await client.done()
    assert start["status"] == 200


async def test_b2_a_client_that_is_refused_is_not_asked(bench, origin, caller):
    client = caller(bench(), "POST", [(b"content-length", b"3"), (b"expect", b"100-continue")])
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
    start, *_ = await client.done()
    assert start["status"] == 401


async def test_b2_an_instance_that_knows_no_expect_gets_the_body_after_a_while(bench, origin, caller):
    there = bench()
    client = caller(there, "POST", [(b"content-length", b"3"), (b"expect", b"100-continue")])
    client.push(b"abc", last=True)
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    await there.clock.advance(1.3)
    assert await peer.exactly(3) == b"abc"
    await peer.send(OK)
    await client.done()


async def test_b5_when_the_client_leaves_the_instance_is_told(bench, origin, caller):
    there = bench()
    client = caller(there, "POST", [(b"content-length", b"30")], [b"abc"])
    peer = await origin.peer()
    await peer.until(b"abc")
    client.leave()
    await client.done()
    assert await peer.end() == b""
    assert (client.sent, there.in_flight) == ([], 0)


async def test_b5_a_client_without_a_body_is_looked_after_a_second(bench, origin, caller):
    there = bench()
    client = caller(there)
    peer, _ = await origin.answer(CHUNKED + b"1\r\na\r\n")
    await client.until(lambda: client.body)
    assert client.asked == 0
    client.push(b"", last=True)
    client.leave()
    await there.clock.advance(1.3)
    await client.done()
    assert await peer.end() == b""
    assert client.sent[-1]["more_body"]


async def test_to_be_cancelled_ends_everything(bench, origin, caller):
    there = bench()
    client = caller(there, "POST", [(b"content-length", b"30")], [b"abc"])
    peer = await origin.peer()
    await peer.until(b"abc")
    client.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    assert await peer.end() == b""
    assert there.in_flight == 0


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/2.0 200 OK\r\n\r\n", "http_protocol_error"),
        (OK[:-1], "http_response_incomplete"),
        (b"", "connection_terminated"),
    ],
)
async def test_what_goes_wrong_is_raised(bench, origin, caller, answer, kind):
    there = bench()
    client = caller(there)
    peer = await origin.peer()
    await peer.request()
    await peer.send(answer)
    peer.writer.write_eof()
    with pytest.raises(UpstreamError) as caught:
        await client.done()
    assert caught.value.kind == kind
    assert all(message.get("more_body", True) for message in client.sent)
    assert there.in_flight == 0


async def test_what_the_server_raises_passes(bench, origin, caller):
    there = bench()
    client = caller(there, "POST", [(b"content-length", b"30")])
    client.incoming.put_nowait(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await client.done()
    assert there.in_flight == 0
