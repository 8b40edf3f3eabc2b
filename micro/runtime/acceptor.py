"""Takes connections from a listening socket that other processes take them from, too."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_REST = 0.1
"""Seconds without a look at the socket, where the system has no room for one more connection."""


class Acceptor:
    """Takes one connection in each turn of the loop, from now on until it is closed.

    uvloop's own server takes all that wait: of clients that come together one process would have every one, and keep them
    as long as they keep their connections. One in each turn leaves the next to whoever has less to do. See
    docs/adr/0009-replicas-share-one-socket.md.
    """

    def __init__(self, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        """`make` gives each connection its protocol. The socket stays the caller's, who closes it after this."""
        self._sock = sock
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[object]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._look()

    def close(self) -> None:
        """Take no more. Idempotent."""
        if self._resting is not None:
            self._resting.cancel()
        elif self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)

    async def settled(self) -> None:
        """Wait until every connection that was taken has its protocol."""
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _look(self) -> None:
        self._resting = None
        self._loop.add_reader(self._sock, self._take)

    def _take(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except OSError as error:  # mostly: another process was faster
            if error.errno in _FULL:
                self._loop.remove_reader(self._sock)
                self._resting = self._loop.call_later(_REST, self._look)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._make, connection))
        self._arriving.add(task)
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        if not task.cancelled() and isinstance(task.exception(), OSError):
            return  # the client has gone again
        task.result()
