"""The control socket: one request a line, bounded, cancelled with its client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import ConfigurationError, NotFound, StoreUnavailable
from micro.runtime import control
from micro.runtime.control import ControlServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60.0


class Verbs:
    """What the server under test is given."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.sent = 0

    async def add(self, a: int, b: int = 0) -> dict[str, Any]:
        return {"sum": a + b}

    async def count(self, upto: int) -> AsyncIterator[dict[str, Any]]:
        for number in range(upto):
            yield {"n": number}

    async def tail(self) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"first": True}
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def flood(self) -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                self.sent += 1
                yield {"text": "x" * 10_000}
        finally:
            self.ended.set()

    async def missing(self) -> dict[str, Any]:
        raise NotFound("no such thing")

    async def full(self) -> dict[str, Any]:
        raise StoreUnavailable("the disk is full")

    async def broken(self) -> dict[str, Any]:
        raise ZeroDivisionError


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, verb: str, **args: Any) -> None:
        self.writer.write(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        await self.writer.drain()

    async def line(self) -> Any:
        async with asyncio.timeout(LIMIT):
            return json.loads(await self.reader.readline())

    async def ask(self, verb: str, **args: Any) -> Any:
        await self.send(verb, **args)
        return await self.line()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
def path() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s.sock"


@pytest.fixture
async def verbs() -> Verbs:
    return Verbs()


@pytest.fixture
async def server(path: Path, verbs: Verbs) -> AsyncIterator[ControlServer]:
    names = ("add", "count", "tail", "flood", "missing", "full", "broken")
    server = ControlServer(path, {name: getattr(verbs, name) for name in names})
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def client(server: ControlServer) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_unix_connection(server.path))
    yield client
    await client.close()


async def test_a_verb_with_one_answer_ends_with_it(client: Client) -> None:
    assert await client.ask("add", a=1, b=2) == {"end": {"sum": 3}}


async def test_a_connection_takes_one_request_after_another(client: Client) -> None:
    assert await client.ask("add", a=1) == {"end": {"sum": 1}}
    assert await client.ask("add", a=2) == {"end": {"sum": 2}}


async def test_requests_sent_ahead_are_answered_in_order(client: Client) -> None:
    for number in range(3):
        await client.send("add", a=number)
    assert [await client.line() for _ in range(3)] == [{"end": {"sum": number}} for number in range(3)]


async def test_a_verb_with_items_sends_each_and_then_an_end(client: Client) -> None:
    await client.send("count", upto=2)
    assert [await client.line() for _ in range(3)] == [{"item": {"n": 0}}, {"item": {"n": 1}}, {"end": {}}]


@pytest.mark.parametrize(
    ("verb", "kind", "says"),
    [
        ("missing", "usage", "no such thing"),
        ("full", "internal", "the disk is full"),
        ("broken", "internal", "micro logs"),
        ("nonsense", "usage", "no such verb"),
        ("add", "usage", "argument"),
    ],
)
async def test_a_failure_is_one_line_that_says_whose_it_is(
    client: Client, verb: str, kind: str, says: str
) -> None:
    error = (await client.ask(verb))["error"]
    assert error["kind"] == kind
    assert says in error["message"]
    assert (await client.ask("add", a=1)) == {"end": {"sum": 1}}


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b'{"args": {}}\n', b"\xff\n"])
async def test_a_line_that_is_no_request_is_refused_and_the_connection_goes_on(
    client: Client, line: bytes
) -> None:
    client.writer.write(line)
    assert (await client.line())["error"]["kind"] == "usage"
    assert await client.ask("add", a=1) == {"end": {"sum": 1}}


async def test_a_line_without_end_is_refused_and_the_connection_closed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.writer.write(b"x" * (control.LONGEST_LINE + 1))
    assert "longer" in (await client.line())["error"]["message"]
    async with asyncio.timeout(LIMIT):
        with contextlib.suppress(ConnectionResetError):  # unread bytes make the kernel reset
            assert await client.reader.read() == b""


async def test_a_client_that_goes_away_cancels_its_verb(client: Client, verbs: Verbs) -> None:
    await client.ask("tail")
    await client.close()
    async with asyncio.timeout(LIMIT):
        await verbs.ended.wait()


async def test_a_client_that_stops_reading_holds_its_verb_back(
    client: Client, verbs: Verbs, server: ControlServer
) -> None:
    await client.send("flood")
    other = Client(*await asyncio.open_unix_connection(server.path))
    sent = -1
    while sent != verbs.sent:  # until nothing more is sent between two whole round trips
        sent = verbs.sent
        for _ in range(20):
            await other.ask("add", a=1)
    assert verbs.sent < 200
    await client.close()
    async with asyncio.timeout(LIMIT):
        await verbs.ended.wait()
    await other.close()


async def test_closing_cancels_verbs_in_progress_and_removes_the_socket(
    client: Client, verbs: Verbs, server: ControlServer
) -> None:
    await client.ask("tail")
    await server.close()
    await server.close()
    assert verbs.ended.is_set()
    assert not server.path.exists()
    async with asyncio.timeout(LIMIT):
        assert await client.reader.read() == b""


async def test_the_socket_is_for_its_owner_only(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


async def test_a_dead_socket_file_is_replaced(path: Path) -> None:
    path.touch()
    server = ControlServer(path, {})
    await server.open()
    await server.close()


async def test_a_path_that_cannot_be_bound_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't listen"):
        await ControlServer(tmp_path / "missing" / "s.sock", {}).open()


async def test_another_users_process_is_not_listened_to(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda sock: os.getuid() + 1)
    stranger = Client(*await asyncio.open_unix_connection(server.path))
    async with asyncio.timeout(LIMIT):
        assert await stranger.reader.read() == b""
    assert "another user" in caplog.text
    await stranger.close()


def test_on_macos_the_peer_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (0, 1)  # SOL_LOCAL, LOCAL_PEERCRED
            return struct.pack("2I", 0, 501)[:size]

    monkeypatch.delattr(control.socket, "SO_PEERCRED", raising=False)
    assert control.peer_uid(Socket()) == 501  # type: ignore[arg-type] # all that is asked of it
