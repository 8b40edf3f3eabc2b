"""The listeners: bound first, drained together."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import ConfigurationError, PortInUse
from micro.runtime import server as module
from micro.runtime.server import Servers, base_url, bind, websockets_available
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 5.0


class App:
    """Answers at once, or in two halves when the path says so."""

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


def test_a_port_in_use_names_who_wanted_it_and_what_to_do() -> None:
    with bind("gateway", "127.0.0.1", 0) as taken:
        host, port = taken.getsockname()
        with pytest.raises(PortInUse, match=rf"task: {host}:{port} is in use; use --port") as caught:
            bind("task", host, port, hint="use --port")
        assert caught.value.port == port


def test_an_address_of_another_machine_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"gateway: can't listen on 192\.0\.2\.1:0"):
        bind("gateway", "192.0.2.1", 0)


def test_a_bound_socket_sends_small_packets_at_once_and_can_be_bound_again_soon() -> None:
    with bind("gateway", "127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


class Named:
    def __init__(self, *name: Any) -> None:
        self.name = name

    def getsockname(self) -> Any:
        return self.name


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80"),
        (("0.0.0.0", 80), "http://127.0.0.1:80"),
        (("::", 80, 0, 0), "http://[::1]:80"),
    ],
)
def test_the_url_is_one_that_works_on_this_machine(name: Any, url: str) -> None:
    assert base_url(Named(*name)) == url  # type: ignore[arg-type] # all that is asked of a socket


def test_ipv6_is_bound_by_its_address() -> None:
    with bind("gateway", "::1", 0) as sock:
        assert base_url(sock).startswith("http://[::1]:")


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


async def test_aborting_cuts_everything_off(app: App, servers: Servers, listener: socket.socket) -> None:
    _, writer = await connect(listener)
    await request(writer, "/slow")
    await app.begun.wait()
    await servers.abort()
    assert app.cancelled.is_set()
    assert servers.requests() == 0
    writer.close()


def test_websockets_need_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert not websockets_available()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name == "wsproto" or None)
    assert websockets_available()
