"""An instance that does as the test says, a client's side that keeps what it is told, and an upstream between both."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import replace

import pytest
from serving import StreamServer

from micro.gateway.deadlines import Wheel
from micro.gateway.exchange import Exchange
from micro.gateway.upstream.cluster import Cluster
from micro.gateway.upstream.network import NetworkUpstream
from micro.spec.upstream import RetrySpec, UpstreamSpec
from micro.testing import FakeClock

DEADLINE = 60.0
"""Seconds after which a test that waits has failed."""
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class Peer:
    """One connection that an instance has taken."""

    def __init__(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer
        self.read = b""
        """Everything that came, whoever asked for it."""

    async def request(self) -> bytes:
        """The next request: its head, and its body where that has a length or is chunked."""
        head = await self.until(b"\r\n\r\n")
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            return head + await self.until(b"0\r\n\r\n")
        if b"content-length: " in lower:
            length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            return head + await self.exactly(length)
        return head

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(DEADLINE):
            data = await self.reader.readuntil(mark)
        self.read += data
        return data

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(DEADLINE):
            data = await self.reader.readexactly(count)
        self.read += data
        return data

    async def end(self) -> bytes:
        """Wait until the other side has closed; what came before."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE):
                while data := await self.reader.read(65536):
                    rest += data
        self.read += rest
        return rest

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close without a goodbye: the other side gets an RST."""
        at_once = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.writer.transport.abort()


class Origin(StreamServer):
    """An instance. The test takes its connections one by one and plays its part by hand."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.peers: list[Peer] = []
        self._coming: asyncio.Queue[Peer] = asyncio.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _take(self, reader, writer) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._coming.put_nowait(peer)

    async def peer(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(DEADLINE):
            return await self._coming.get()

    async def answer(self, data: bytes = OK) -> tuple[Peer, bytes]:
        """Take a connection, read a request from it and answer."""
        peer = await self.peer()
        request = await peer.request()
        await peer.send(data)
        return peer, request


class Client:
    """A `Downstream` that keeps what it is told."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, dict[bytes, bytes], int | None]] = []
        self.body = b""
        self.feeds = 0
        self.ended = False
        self.error = None
        self.calls: list[str] = []
        self.paused = False
        self.leg = None
        self._news = asyncio.Event()

    def head(self, status, fields, length, *, body=None) -> None:
        assert not self.over, "a head after the end"
        self.heads.append((status, dict(fields), length))
        self.fields = fields
        self._note("head")
        if body:
            self.feed(body)
        if body is not None:
            self.end()

    def feed(self, data) -> None:
        assert data, "an empty piece"
        assert not self.over, "a piece after the end"
        self.body += data
        self.feeds += 1
        self._note("feed")

    def end(self) -> None:
        assert not self.over, "two ends"
        self.ended = True
        self._note("end")

    def fail(self, error) -> None:
        assert not self.over, "two ends"
        self.error = error
        self._note("fail")

    def pause(self) -> None:
        self.paused = True
        self._note("pause")

    def resume(self) -> None:
        self.paused = False
        self._note("resume")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self._news.set()

    @property
    def over(self) -> bool:
        return self.ended or self.error is not None

    @property
    def status(self) -> int:
        return self.heads[-1][0]

    async def until(self, condition) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def done(self) -> Client:
        """Wait for the end, good or bad."""
        await self.until(lambda: self.over)
        return self

    async def kind(self) -> str:
        """The error type that it ended with."""
        await self.done()
        assert self.error is not None, f"no failure, but {self.heads} {self.body!r}"
        return self.error.kind


class Route:
    """As much of a pipeline as an upstream looks at."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.foreign = False


def exchange_of(
    clock, method="GET", path=b"/items/1", headers=(), *, version="1.1", timeout=15.0
) -> Exchange:
    """An exchange whose policies have all passed."""
    exchange = Exchange(method, path, [(b"host", b"shop.example"), *headers])
    exchange.query = b""
    exchange.version = version
    exchange.scheme = "http"
    exchange.started = exchange.began = clock.monotonic()
    exchange.pipeline = Route(timeout)
    exchange.trusted = False
    exchange.client = "203.0.113.7"
    exchange.forwarded_for = (b"x-forwarded-for", b"203.0.113.7")
    exchange.request_id = exchange.correlation_id = "r-1"
    exchange.ids = b"x-request-id: r-1\r\nx-correlation-id: r-1\r\n"
    exchange.traceparent = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00"
    exchange.via = (b"via", b"1.1 micro-test")
    return exchange


@pytest.fixture(name="exchange_of")
def _exchange_of():
    return lambda **request: exchange_of(FakeClock(), **request)


class Bench:
    """An upstream and its cluster, under a clock that the test moves."""

    def __init__(self, urls, **settings) -> None:
        self.clock = FakeClock()
        self.wheel = Wheel(self.clock)
        spec = replace(UpstreamSpec(retry=RetrySpec(attempts=1)), **settings)
        self.cluster = Cluster("shop", urls, spec=spec, wheel=self.wheel)
        self.upstream = NetworkUpstream(self.cluster, clock=self.clock, wheel=self.wheel)

    def start(self, method="GET", path=b"/items/1", headers=(), *, body=False, **more):
        """A request on its way: its client's side, which knows its leg."""
        client = self.prepared(method, path, headers, **more)
        self.upstream.start(client.exchange, client, body=body)
        return client

    def prepared(self, method="GET", path=b"/items/1", headers=(), **more):
        """A request to be started."""
        client = Client()
        client.exchange = exchange_of(self.clock, method, path, headers, **more)
        return client

    @property
    def instance(self):
        (instance,) = self.cluster.instances
        return instance

    @property
    def idle(self) -> int:
        """How many connections are kept."""
        return sum(len(instance.pool.idle) for instance in self.cluster.instances if instance.pool)

    @property
    def in_flight(self) -> int:
        return sum(instance.active for instance in self.cluster.instances) + self.cluster.slots.active

    async def close(self) -> None:
        await self.upstream.close()
        await self.wheel.close()
        self.cluster.close()


@pytest.fixture
async def origin():
    origin = Origin()
    await origin.open()
    yield origin
    await origin.close()


@pytest.fixture
async def other():
    """A second instance."""
    other = Origin()
    await other.open()
    yield other
    await other.close()


@pytest.fixture
async def bench(origin):
    """A function that makes an upstream; by default, for `origin` alone."""
    made = []

    def make(*urls, **settings):
        made.append(Bench(urls or [origin.url], **settings))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def settle():
    """Let both ends of what was sent or closed see it."""

    async def wait(condition) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + DEADLINE
        while not condition():
            assert loop.time() < end, "it has not happened"
            turn = loop.create_future()
            loop.call_later(0.001, turn.set_result, None)
            await turn

    return wait
