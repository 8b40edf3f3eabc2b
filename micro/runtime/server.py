"""HTTP listeners: sockets bound first, then one uvicorn server for each, all with one shutdown.

uvicorn listens and speaks WebSocket; HTTP is `micro.web.server`'s. What uvicorn would do for a process of its own
(signals, lifespans, waiting by polling) is done here once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import uvicorn

from micro.runtime.acceptor import Acceptor
from micro.runtime.ending import CANCELLATION, cancelled, place
from micro.runtime.sockets import BACKLOG
from micro.spec.gateway import GatewaySpec
from micro.web.server.limits import Limits
from micro.web.server.port import TICK, Port
from micro.web.server.protocol import HttpProtocol
from micro.web.server.room import Room, connections_for, open_files

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from micro.clock import Clock
    from micro.gateway.app import Gateway
    from micro.service import ASGIApp
    from micro.web.server.connection import Connection

_log = logging.getLogger("micro.runtime.server")

FEW = 500
"""Connections below which a person is told how many there may be: the limit of open files wants to be raised."""


def _websocket(**arguments: Any) -> asyncio.Protocol:
    """Uvicorn's protocol for a WebSocket, loaded for the first one."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol  # noqa: PLC0415 # loaded when first used

    return WebSocketsSansIOProtocol(**arguments)


class Servers:
    """Serves ASGI apps on bound sockets. `add` all, `start`, keep `run` running, then `drain` or `abort`."""

    def __init__(self, *, clock: Clock, spec: GatewaySpec | None = None) -> None:
        """`spec` has the limits, for the services' ports as well."""
        spec = spec or GatewaySpec()
        self._clock = clock
        self._spec = spec
        self._limits = Limits(max_head=spec.max_head, head_timeout=spec.head_timeout, min_rate=spec.min_rate)
        self._files = open_files()
        self._most = connections_for(self._files)
        self._room = Room(self._most)
        self._servers: list[tuple[_Server, socket.socket]] = []
        self._ports: list[Port] = []
        self._deaf: set[asyncio.Task[Any]] = set()
        """Requests that swallow their cancellation."""

    def add(
        self, app: ASGIApp, sock: socket.socket, *, gateway: Gateway | None = None, shared: bool = False
    ) -> None:
        """Serve `app` on `sock` from `start` on. Its lifespan is not run here.

        `gateway`: what the app is, where requests may take its short path. `shared`: other processes serve on it, too.
        """
        port = Port(
            self._limits,
            clock=self._clock,
            room=self._room,
            make=self._protocol(gateway),
            refusal_fields=None if gateway is None else gateway.unread,
        )
        config = uvicorn.Config(
            app,
            http=port,  # type: ignore[arg-type] # called like a class
            ws=_websocket,  # type: ignore[arg-type] # called like a class
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,  # uvicorn believes X-Forwarded-For from loopback otherwise
            server_header=False,
            log_config=None,
            access_log=False,
            backlog=BACKLOG,
        )
        self._servers.append((_Server(config, shared=shared), sock))
        self._ports.append(port)

    async def start(self) -> None:
        """Begin to answer."""
        level = logging.WARNING if self._most < FEW else logging.DEBUG
        _log.log(
            level, "at most %d connections: this process may have %d files open", self._most, self._files
        )
        for server, sock in self._servers:
            await server.begin(sock)

    async def run(self) -> None:
        """Keep the Date header of every server right, and look after its connections. Never returns."""
        while True:
            for (server, _), port in zip(self._servers, self._ports, strict=True):
                await server.on_tick(0)
                port.look()
            await self._clock.sleep(TICK)

    def requests(self) -> int:
        """How many requests are being answered now."""
        connections = [one for server, _ in self._servers for one in server.server_state.connections]
        return sum(getattr(connection, "turn", None) is not None for connection in connections)

    async def drain(self, grace: float, *, linger: float = 0.0) -> int:
        """Stop accepting, let requests in flight finish for up to `grace` seconds, close every connection.

        Connections that wait for a request get one more, if it comes within `linger` seconds: it may be on its way, and the
        client is to come to no harm. Returns how many connections had to be cut off.
        """
        if linger:
            await self._retire(linger)
        await self._stop_accepting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                for server, _ in self._servers:
                    await server.quiet()
        return await self._cut_off()

    async def abort(self) -> None:
        """Stop accepting and cut every request off."""
        await self._stop_accepting()
        await self._cut_off()

    async def _retire(self, linger: float) -> None:
        for server, sock in self._servers:
            await server.leave(sock)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(linger):
                for server, _ in self._servers:
                    await server.quiet()

    async def _stop_accepting(self) -> None:
        for server, sock in self._servers:
            await server.stop_accepting()
            sock.close()

    async def _cut_off(self) -> int:
        connections = [one for server, _ in self._servers for one in server.server_state.connections]
        tasks = {task for server, _ in self._servers for task in server.server_state.tasks}
        deaf = await cancelled(tasks - self._deaf, limit=CANCELLATION)
        self._deaf |= deaf
        if deaf:
            _log.error(
                "%d requests go on though they were cancelled %g s ago, and are left behind: %s",
                len(deaf),
                CANCELLATION,
                ", ".join(sorted(map(place, deaf))[:3]),
            )
        for connection in connections:
            connection.transport.abort()
        return len(connections)

    def _protocol(self, gateway: Gateway | None) -> Callable[[Port], Connection]:
        if gateway is None or self._spec.adapter == "asgi":
            return HttpProtocol
        if not any(hasattr(upstream, "start") for upstream in gateway.upstreams.values()):
            return HttpProtocol  # nobody to take the short path to
        from micro.gateway.protocol import GatewayProtocol  # noqa: PLC0415 # loaded when first used

        return lambda port: GatewayProtocol(port, gateway)


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

    def __init__(self, config: uvicorn.Config, *, shared: bool) -> None:
        super().__init__(config)
        self._shared = shared
        self.server_state.connections = _Connections()

    async def begin(self, sock: socket.socket) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.on_tick(0)
        if self._shared:
            self.servers = [Acceptor(sock, self._connection)]
            self.started = True
        else:
            await self.startup(sockets=[sock])

    def _connection(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def leave(self, sock: socket.socket) -> None:
        """Accept no more, and let each connection go with its next answer."""
        await self._close()
        sock.close()
        for connection in list(self.server_state.connections):
            if hasattr(connection, "retire"):  # a WebSocket has no next answer
                connection.retire()

    async def stop_accepting(self) -> None:
        await self._close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    async def _close(self) -> None:
        for listener in self.servers:
            listener.close()
            if self._shared:
                await listener.settled()

    async def quiet(self) -> None:
        """Wait until every connection is closed and every app has returned."""
        await self.server_state.connections.empty()  # type: ignore[attr-defined] # the set made above
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
