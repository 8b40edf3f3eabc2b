"""How many connections a process takes: fewer than it may have files open, idle ones making room for new ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.web.server.connection import Connection
    from micro.web.server.port import Port

logger = logging.getLogger("micro.web.server")

_OTHERS = 4
"""One in so many files is for anything but clients: connections to instances above all."""
_OWN = 40
"""So many at least are: the process's own files, and some connections."""
_LEAST = 8
_SHARE = 32
"""One in so many of the idle connections goes at a time, so that the search for them is not paid by each new client."""


def open_files() -> int:
    """How many files this process may have open."""
    import resource  # noqa: PLC0415 # not everywhere, and asked for once

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_for(files: int) -> int:
    """How many clients can be connected with `files` open files. Idle ones need none towards an instance."""
    return max(files - max(files // _OTHERS, _OWN), _LEAST)


class Room:
    """The connections of all ports of one process.

    Without it, a process that is out of file descriptors fails new clients while idle ones hold theirs.
    """

    __slots__ = ("_most", "_ports", "_told")

    def __init__(self, most: int) -> None:
        self._most = most
        self._ports: list[Port] = []
        self._told = False

    def add(self, port: Port) -> None:
        """Count this port's connections, too."""
        self._ports.append(port)

    def has_place(self, newest: Connection) -> bool:
        """Whether the connection that came last, and is counted already, can stay."""
        if sum([len(port.connections) for port in self._ports]) <= self._most:
            return True
        if not self._told:
            self._told = True
            logger.warning("%d connections are open, which is the limit: idle ones are closed", self._most)
        return self._drop_idle(newest)

    def _drop_idle(self, newest: Connection) -> bool:
        """Close those that are idle the longest. False where no other is."""
        connections = [one for port in self._ports for one in port.connections if one is not newest]
        idle = [connection for connection in connections if getattr(connection, "idle", False)]
        idle.sort(key=lambda connection: connection.since)
        for connection in idle[: len(idle) // _SHARE + 1]:
            connection.transport.abort()
        return bool(idle)
