"""Databases of both kinds, and servers on this machine for parts that talk to other people's."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
from serving import StreamServer

from micro.clock import SystemClock
from micro.store.postgres import PostgresStore
from micro.store.sqlite import SqliteStore

_numbers = count(1)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Listener:
    """An HTTP server that notes what it is sent and gives one answer."""

    port: int
    connections: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first request is there."""


@asynccontextmanager
async def _listening(answer=NO_CONTENT, *, tls=None, endless=b"", hold=None):
    """A listener for as long as the block runs.

    It answers once the event `hold` is set, and after `answer` writes `endless` over and over.
    """
    listener = Listener(0)

    async def serve(reader, writer):
        listener.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            listener.requests.append((line, headers, body))
            listener.arrived.set()
            if hold:
                await hold.wait()
            writer.write(answer)
            await writer.drain()
            while endless:
                writer.write(endless)
                await writer.drain()
            if not answer:
                await reader.read()
        finally:
            writer.close()

    if tls:
        tls.sni_callback = lambda _socket, name, _context: listener.names.append(name)
    server = StreamServer(serve)
    await server.open(ssl=tls)
    listener.port = server.port
    try:
        yield listener
    finally:
        await server.close()


@pytest.fixture
def listening():
    """Starts a `Listener`: an async context manager."""
    return _listening


@pytest.fixture
def certificate(certified):
    """Makes two TLS contexts: of a server with a certificate for that name, and of a client that trusts it."""

    def make(name):
        server, file = certified(name)
        return server, ssl.create_default_context(cafile=file)

    return make


@pytest.fixture(scope="session")
def unit_server(postgres_server):
    """A database in which every test makes schemas of its own; what was written last may be lost with the power."""
    url = postgres_server.format(service="unit")
    asyncio.run(PostgresStore(url, clock=SystemClock()).provision())
    return f"{url}?pool=4&synchronous_commit=off"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def database_server(request):
    """Where databases are: nowhere for SQLite. A test that is built on this runs once on each kind."""
    return request.getfixturevalue("unit_server") if request.param == "postgresql" else None


@pytest.fixture
async def open_database(database_server, tmp_path):
    """Opens a store on an empty database: `open_database(name, clock)`; the second time, on that same one."""
    server = database_server
    number, known = next(_numbers), set()
    async with AsyncExitStack() as stack:

        async def open_database(name, clock):
            schema = f"t{number}_{name}"
            if server is None:
                store = SqliteStore(f"sqlite:{tmp_path / name}.db", clock=clock)
            else:
                store = PostgresStore(f"{server}&schema={schema}", clock=clock)
            stack.push_async_callback(store.close)
            await store.open()
            if server is not None and name not in known:
                async with store.transaction() as tx:
                    await tx.execute(f"create schema {schema}")
            known.add(name)
            return store

        yield open_database


@pytest.fixture
def spelled():
    """`spelled(sql, store)`: a test's own tables, written for SQLite, as that store's database spells them."""

    def spelled(sql, store):
        if store.dialect == "sqlite":
            return sql
        sql = sql.replace("integer primary key", "bigint generated always as identity primary key")
        return sql.replace(" integer", " bigint").replace(" strict", "")

    return spelled
