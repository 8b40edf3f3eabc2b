"""The listeners: bound first, drained together."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from micro.clock import SystemClock
from micro.gateway.deadlines import Wheel
from micro.runtime import server
from micro.runtime.server import Servers
from micro.runtime.sockets import bind
from micro.spec.gateway import GatewaySpec
from micro.testing import FakeClock

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

LIMIT = 60.0


class App:
    """Answers at once, or in two halves when the path says so; `/deaf` does not let itself be cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        self.begun.set()
        if scope["path"] == "/slow":
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        while scope["path"] == "/deaf" and not self.release.is_set():
            with suppress(asyncio.CancelledError):
                await self.release.wait()
        await send({"type": "http.response.body", "body": b"def"})


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
async def listener(app: App) -> socket.socket:
    return bind("gateway", "127.0.0.1", 0)


@pytest.fixture
async def servers(app: App, listener: socket.socket) -> AsyncIterator[Servers]:
    servers = Servers(clock=FakeClock())
    servers.add(app, listener)
    await servers.start()
    yield servers
    await servers.abort()


async def connect(listener: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*listener.getsockname())


async def request(writer: asyncio.StreamWriter, path: str) -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n".encode())
    await writer.drain()


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    async with asyncio.timeout(LIMIT):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return head.lower(), await reader.readexactly(6)


async def test_a_client_that_comes_before_the_start_is_answered_after_it(
    app: App, listener: socket.socket
) -> None:
    reader, writer = await connect(listener)
    await request(writer, "/")
    servers = Servers(clock=FakeClock())
    servers.add(app, listener)
    await servers.start()
    assert (await answer(reader))[1] == b"abcdef"
    writer.close()
    assert await servers.drain(LIMIT) == 0


async def test_it_says_the_date_but_not_its_name_and_believes_no_forwarded_address(
    app: App, servers: Servers, listener: socket.socket
) -> None:
    reader, writer = await connect(listener)
    await request(writer, "/")
    head, _ = await answer(reader)
    assert "\r\ndate: " in head
    assert "\r\nserver:" not in head
    assert app.scope["client"][0] == "127.0.0.1"
    writer.close()


async def test_the_date_is_kept_right_every_second(
    app: App, listener: socket.socket, monkeypatch: Any
) -> None:
    clock = FakeClock()
    servers = Servers(clock=clock)
    servers.add(app, listener)
    await servers.start()
    task = asyncio.create_task(servers.run())
    await clock.until_sleeping()
    server, _ = servers._servers[0]
    server.server_state.default_headers = [(b"date", b"stale")]
    await clock.advance(1.0)
    assert server.server_state.default_headers != [(b"date", b"stale")]
    task.cancel()
    await servers.abort()


async def test_no_signal_handler_is_taken(app: App, listener: socket.socket) -> None:
    before = signal.getsignal(signal.SIGTERM)
    servers = Servers(clock=FakeClock())
    servers.add(app, listener)
    await servers.start()
    assert signal.getsignal(signal.SIGTERM) == before
    await servers.abort()


async def test_draining_lets_a_request_in_flight_finish_and_takes_no_new_one(
    app: App, servers: Servers, listener: socket.socket
) -> None:
    address = listener.getsockname()
    reader, writer = await connect(listener)
    await request(writer, "/slow")
    await app.begun.wait()
    assert servers.requests() == 1
    draining = asyncio.create_task(servers.drain(LIMIT))
    await FakeClock().sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    assert not draining.done()
    app.release.set()
    assert (await answer(reader))[1] == b"abcdef"
    assert await draining == 0
    assert await reader.read() == b""
    writer.close()


async def test_draining_closes_idle_connections_at_once(servers: Servers, listener: socket.socket) -> None:
    reader, writer = await connect(listener)
    await request(writer, "/")
    await answer(reader)
    assert await servers.drain(LIMIT) == 0
    assert await reader.read() == b""
    writer.close()


async def test_what_outlives_the_grace_is_cut_off(
    app: App, servers: Servers, listener: socket.socket
) -> None:
    _, writer = await connect(listener)
    await request(writer, "/slow")
    await app.begun.wait()
    assert await servers.drain(0.01) == 1
    assert app.cancelled.is_set()
    writer.close()


async def test_an_app_that_goes_on_without_its_client_is_waited_for(
    app: App, servers: Servers, listener: socket.socket
) -> None:
    _, writer = await connect(listener)
    await request(writer, "/slow")
    await app.begun.wait()
    writer.transport.abort()
    draining = asyncio.create_task(servers.drain(LIMIT))
    server, _ = servers._servers[0]
    async with asyncio.timeout(LIMIT):
        await server.server_state.connections.empty()
    assert not draining.done()
    app.release.set()
    assert await draining == 0


async def test_a_kept_connection_gets_one_more_answer_where_another_process_has_taken_over(
    app: App, servers: Servers, listener: socket.socket
) -> None:
    reader, writer = await connect(listener)
    await request(writer, "/")
    async with asyncio.timeout(LIMIT):
        first = await reader.readuntil(b"\r\n\r\n")
        draining = asyncio.create_task(servers.drain(LIMIT, linger=LIMIT))
        while listener.fileno() != -1:
            await SystemClock().sleep(0)
        await request(writer, "/")
        rest = await reader.read()
    assert b"connection: close" not in first.lower()
    assert b"HTTP/1.1 200" in rest
    assert b"connection: close" in rest.lower()
    assert await draining == 0
    writer.close()


async def test_one_that_sends_nothing_more_is_closed_when_its_time_is_over(
    app: App, servers: Servers, listener: socket.socket
) -> None:
    reader, writer = await connect(listener)
    await request(writer, "/")
    async with asyncio.timeout(LIMIT):
        await reader.readuntil(b"\r\n\r\n")
        assert await servers.drain(LIMIT, linger=0.01) == 0
        await reader.read()
    writer.close()


async def test_what_swallows_its_cancellation_is_left_behind_and_told_of(
    app: App,
    servers: Servers,
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Or one application could keep the process from ending."""
    monkeypatch.setattr(server, "CANCELLATION", 0.05)
    _, writer = await connect(listener)
    await request(writer, "/deaf")
    await app.begun.wait()
    try:
        async with asyncio.timeout(LIMIT):
            assert await servers.drain(0.01) == 1
            monkeypatch.setattr(server, "CANCELLATION", 60.0)
            await servers.abort()  # which has nothing to wait for, nor to tell, any more
    finally:
        app.release.set()
        writer.close()
    (record,) = [record for record in caplog.records if "left behind" in record.message]
    assert (record.levelname, "test_server.py:" in record.message) == ("ERROR", True)


async def test_aborting_cuts_everything_off(app: App, servers: Servers, listener: socket.socket) -> None:
    _, writer = await connect(listener)
    await request(writer, "/slow")
    await app.begun.wait()
    await servers.abort()
    assert app.cancelled.is_set()
    assert servers.requests() == 0
    writer.close()


class Shaking:
    """Accepts a WebSocket and sends back what it hears."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})
        await send({"type": "websocket.close"})


async def test_a_websocket_is_spoken_without_anything_to_install(listener: socket.socket) -> None:
    from websockets.asyncio.client import connect as shake

    servers = Servers(clock=FakeClock())
    servers.add(Shaking(), listener)
    await servers.start()
    host, port = listener.getsockname()
    async with asyncio.timeout(LIMIT), shake(f"ws://{host}:{port}/", proxy=None) as connection:
        await connection.send("hello")
        assert await connection.recv() == "HELLO"
    await servers.abort()


async def test_the_gateways_limits_hold_on_every_port(app: App, listener: socket.socket) -> None:
    servers = Servers(clock=FakeClock(), spec=GatewaySpec(max_head=100))
    servers.add(app, listener)
    await servers.start()
    reader, writer = await connect(listener)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100 + b"\r\n\r\n")
    async with asyncio.timeout(LIMIT):
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
    writer.close()
    await servers.abort()


@pytest.mark.parametrize(("few", "level"), [(0, "DEBUG"), (1 << 30, "WARNING")])
async def test_it_says_how_many_connections_it_takes_aloud_where_they_are_few(
    listener: socket.socket,
    app: App,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    few,
    level,
) -> None:
    monkeypatch.setattr(server, "FEW", few)
    servers = Servers(clock=FakeClock())
    servers.add(app, listener)
    with caplog.at_level("DEBUG"):
        await servers.start()
    [record] = [each for each in caplog.records if "connections: this process may have" in each.getMessage()]
    assert record.levelname == level
    await servers.abort()


class Far:
    """An upstream with a short path."""

    def start(self, exchange: Any, downstream: Any, *, body: bool) -> Any:
        raise NotImplementedError


class FakeGateway:
    """As much of a gateway as the choice of the adapter needs."""

    def __init__(self, *upstreams: Any) -> None:
        self.upstreams = dict(enumerate(upstreams))
        self.plan = SimpleNamespace(wheel=Wheel(FakeClock()))

    def unread(self, headers: Any) -> list[tuple[bytes, bytes]]:
        return [(b"proxy-status", b"here"), *headers]


@pytest.mark.parametrize(
    ("adapter", "upstream", "short"),
    [("auto", Far(), True), ("asgi", Far(), False), ("auto", object(), False)],
)
async def test_the_short_path_is_there_where_an_upstream_has_one(
    app: App, listener: socket.socket, adapter: Any, upstream: Any, short: bool
) -> None:
    servers = Servers(clock=FakeClock(), spec=GatewaySpec(adapter=adapter))
    servers.add(app, listener, gateway=FakeGateway(upstream))  # type: ignore[arg-type] # as far as it is looked at
    await servers.start()
    _, writer = await connect(listener)
    server, _ = servers._servers[0]
    async with asyncio.timeout(LIMIT):
        while not server.server_state.connections:
            await FakeClock().sleep(0)
    (connection,) = server.server_state.connections
    assert (type(connection).__name__ == "GatewayProtocol") is short
    assert any(name == b"proxy-status" for name, _ in connection.port.refusal_fields(()))
    writer.close()
    await servers.abort()
