"""TCP servers for tests, which leave no connection and no task behind."""

from __future__ import annotations

import asyncio
import contextlib

_TURNS = 3
"""Of the loop, between a connection's acceptance and its handler: the task that accepts it, its transport, the call."""


class StreamServer:
    """Runs `handle(reader, writer)` for each connection to a port of this machine.

    A client that leaves ends its handler; closing the server ends all of them, and resets what is still connected.
    """

    def __init__(self, handle):
        self.port = 0
        """Where it listens: a free port at first, the same whenever it is opened again."""
        self._handle = handle
        self._server = None
        self._handlers = set()
        self._writers = set()

    async def open(self, *, ssl=None):
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=ssl)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self):
        """Idempotent. Raises what a handler has raised."""
        await close(self._server)
        for writer in self._writers:
            writer.transport.abort()
        for handler in self._handlers:
            handler.cancel()
        ends = await asyncio.gather(*self._handlers, return_exceptions=True)
        self._writers.clear()
        self._handlers.clear()
        for error in ends:
            if isinstance(error, Exception):
                raise error

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_exc):
        await self.close()

    def _connected(self, reader, writer):
        self._writers.add(writer)
        self._handlers.add(asyncio.create_task(self._run(reader, writer)))

    async def _run(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._handle(reader, writer)


async def close(server):
    """Close an asyncio server without losing whom it has just accepted.

    Its own `close` leaves a socket that has no transport yet to the garbage collector:
    https://github.com/python/cpython/issues/109564.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(_TURNS):
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn
    server.close()
