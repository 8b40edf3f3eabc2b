"""Several processes take connections from one socket: here two acceptors of one loop, each with a descriptor of its own."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

import pytest

from micro.runtime.acceptor import Acceptor
from micro.runtime.sockets import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIMIT = 60.0


class Taken(asyncio.Protocol):
    """Connections of one acceptor."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._worker.transports.append(transport)
        self._worker.came.set()


class Worker:
    def __init__(self, sock: socket.socket) -> None:
        self.transports: list[asyncio.BaseTransport] = []
        self.came = asyncio.Event()
        self.sock = sock
        self.acceptor = Acceptor(sock, lambda: Taken(self))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(LIMIT):
            while len(self.transports) < count:
                self.came.clear()
                await self.came.wait()

    async def close(self) -> None:
        self.acceptor.close()
        await self.acceptor.settled()
        self.sock.close()
        for transport in self.transports:
            transport.close()


@pytest.fixture
async def work() -> AsyncIterator[Callable[[socket.socket], Worker]]:
    made: list[Worker] = []

    def start(sock: socket.socket) -> Worker:
        made.append(Worker(sock))
        return made[-1]

    yield start
    for worker in made:
        await worker.close()


@pytest.fixture
async def clients() -> AsyncIterator[Callable[[socket.socket], socket.socket]]:
    """Connections that nobody has to have taken."""
    made: list[socket.socket] = []

    def connect(listener: socket.socket) -> socket.socket:
        made.append(socket.create_connection(listener.getsockname()))
        return made[-1]

    yield connect
    for client in made:
        client.close()


async def test_of_clients_that_come_together_each_worker_takes_its_share(
    work: Callable[[socket.socket], Worker], clients: Callable[[socket.socket], socket.socket]
) -> None:
    listener = bind("gateway", "127.0.0.1", 0)
    one, other = work(listener), work(listener.dup())
    for _ in range(20):
        clients(listener)
    for worker in (one, other):
        await worker.until(10)
    assert (len(one.transports), len(other.transports)) == (10, 10)


async def test_a_connection_is_served_as_one_of_a_server_of_its_own(
    work: Callable[[socket.socket], Worker], clients: Callable[[socket.socket], socket.socket]
) -> None:
    worker = work(bind("gateway", "127.0.0.1", 0))
    client = clients(worker.sock)
    await worker.until(1)
    [transport] = worker.transports
    assert transport.get_extra_info("peername") == client.getsockname()
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_after_its_close_nothing_is_taken_and_what_was_is_there(
    work: Callable[[socket.socket], Worker], clients: Callable[[socket.socket], socket.socket]
) -> None:
    listener = bind("gateway", "127.0.0.1", 0)
    one = work(listener.dup())
    clients(listener)
    await one.until(1)
    one.acceptor.close()
    one.acceptor.close()
    clients(listener)
    other = work(listener)
    await other.until(1)
    assert len(one.transports) == 1


class Full(socket.socket):
    """A listening socket for whose connections there is no descriptor, at first."""

    refused = 0

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self.told = asyncio.Event()

    def accept(self) -> tuple[socket.socket, object]:
        if not self.refused:
            self.refused += 1
            self.told.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_room_for_a_connection_it_waits_a_moment(
    work: Callable[[socket.socket], Worker], clients: Callable[[socket.socket], socket.socket]
) -> None:
    full = Full(bind("gateway", "127.0.0.1", 0))
    worker = work(full)
    clients(full)
    await worker.until(1)
    assert full.refused == 1


async def test_closing_while_it_waits_is_no_error(
    work: Callable[[socket.socket], Worker],
    clients: Callable[[socket.socket], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("micro.runtime.acceptor._REST", LIMIT)
    full = Full(bind("gateway", "127.0.0.1", 0))
    worker = work(full)
    clients(full)
    async with asyncio.timeout(LIMIT):
        await full.told.wait()
    worker.acceptor.close()
    assert worker.transports == []


async def test_a_connection_that_another_worker_took_is_no_error(
    work: Callable[[socket.socket], Worker], clients: Callable[[socket.socket], socket.socket]
) -> None:
    listener = bind("gateway", "127.0.0.1", 0)
    one, other = work(listener), work(listener.dup())
    one.came = other.came
    for count in (1, 2, 3):
        clients(listener)
        async with asyncio.timeout(LIMIT):
            while len(one.transports) + len(other.transports) < count:
                one.came.clear()
                await one.came.wait()
