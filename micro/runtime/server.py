"""HTTP listeners: sockets bound first, then one uvicorn server for each, all with one shutdown.

uvicorn parses and writes HTTP; what it would do for a process of its own (signals, lifespans, waiting by polling) is
done here once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import logging
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from micro.errors import ConfigurationError, PortInUse
from micro.runtime.coalesce import CoalescingProtocol

if TYPE_CHECKING:
    from micro.clock import Clock
    from micro.service import ASGIApp

_log = logging.getLogger("micro.runtime.server")

_BACKLOG = 2048
_KEEP_ALIVE = 65
"""Seconds that an idle connection is kept: longer than the 60 s after which common load balancers let go of theirs."""


def bind(owner: str, host: str, port: int, *, hint: str = "") -> socket.socket:
    """A listening TCP socket for `owner`; connections queue from now on. Port 0 is any free one.

    Raises `PortInUse` (with `hint`, how to choose another) and `ConfigurationError` for an address that can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named by its protocol number, because asyncio sets TCP_NODELAY on such sockets only: without it, 40 ms a request.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(owner, host, port, hint=hint) from error
        raise ConfigurationError(f"{owner}: can't listen on {host}:{port}: {error.strerror}") from error
    return sock


def base_url(sock: socket.socket) -> str:
    """Where a client on this machine finds a bound socket: `http://host:port`, a wildcard written as loopback."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def websockets_available() -> bool:
    """Whether a library is installed that lets uvicorn speak WebSocket."""
    return any(importlib.util.find_spec(name) is not None for name in ("websockets", "wsproto"))


class Servers:
    """Serves ASGI apps on bound sockets. `add` all, `start`, keep `run` running, then `drain` or `abort`."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._servers: list[tuple[_Server, socket.socket]] = []

    def add(self, app: ASGIApp, sock: socket.socket) -> None:
        """Serve `app` on `sock` from `start` on. Its lifespan is not run here."""
        config = uvicorn.Config(
            app,
            http=CoalescingProtocol,
            ws="auto" if websockets_available() else "none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,  # uvicorn believes X-Forwarded-For from loopback otherwise
            server_header=False,
            log_config=None,
            access_log=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        self._servers.append((_Server(config), sock))

    async def start(self) -> None:
        """Begin to answer."""
        for server, sock in self._servers:
            await server.begin(sock)

    async def run(self) -> None:
        """Keep the Date header of every server right. Never returns."""
        while True:
            for server, _ in self._servers:
                await server.on_tick(0)
            await self._clock.sleep(1.0)

    def requests(self) -> int:
        """How many requests are being answered now."""
        return sum(len(server.server_state.tasks) for server, _ in self._servers)

    async def drain(self, grace: float) -> int:
        """Stop accepting, let requests in flight finish for up to `grace` seconds, close every connection.

        Returns how many connections had to be cut off.
        """
        self._stop_accepting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                for server, _ in self._servers:
                    await server.quiet()
        return await self._cut_off()

    async def abort(self) -> None:
        """Stop accepting and cut every request off."""
        self._stop_accepting()
        await self._cut_off()

    def _stop_accepting(self) -> None:
        for server, sock in self._servers:
            server.stop_accepting()
            sock.close()

    async def _cut_off(self) -> int:
        connections = [one for server, _ in self._servers for one in server.server_state.connections]
        tasks = [task for server, _ in self._servers for task in server.server_state.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            connection.transport.abort()
        return len(connections)


class _Connections(set[Any]):
    """uvicorn's set of open connections, which can be awaited to become empty."""

    def __init__(self) -> None:
        super().__init__()
        self._emptied = asyncio.Event()

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        if not self:
            self._emptied.set()

    async def empty(self) -> None:
        while self:
            self._emptied.clear()
            await self._emptied.wait()


class _Server(uvicorn.Server):
    """One uvicorn server without its process-wide habits: `serve`, which takes the signals, is never called."""

    servers: list[Any] = []  # noqa: RUF012 - uvicorn sets it on the instance, once it has started

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state.connections = _Connections()

    async def begin(self, sock: socket.socket) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.on_tick(0)
        await self.startup(sockets=[sock])

    def stop_accepting(self) -> None:
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    async def quiet(self) -> None:
        """Wait until every connection is closed and every app has returned."""
        await self.server_state.connections.empty()  # type: ignore[attr-defined] # the set made above
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
