"""A service's ASGI app in this process as an upstream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from micro.context import Context
from micro.gateway.paths import decoded
from micro.gateway.upstream.request import request_headers
from micro.web.incoming import scheme_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.ports import Receive, Send
    from micro.service import ASGIApp

DENIAL = "websocket.http.response"
"""The server's extension by which a refused WebSocket handshake gets an answer of its own."""
EXCHANGE = "micro.exchange"
"""In a scope behind middleware: what the gateway knows of the request, for an upstream on the network."""


class Generation:
    """One version of an app, and how many requests it is answering."""

    __slots__ = ("_idle", "active", "app")

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.active = 0
        self._idle: asyncio.Event | None = None

    async def serve(self, scope: Any, receive: Receive, send: Send) -> None:
        """Run the app once. Whatever it raises passes."""
        self.active += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.active -= 1
            if self._idle is not None and not self.active:
                self._idle.set()

    async def drained(self) -> None:
        """Return once the app answers nothing, background tasks of its answers included."""
        while self.active:
            self._idle = self._idle or asyncio.Event()
            self._idle.clear()
            await self._idle.wait()


class LocalUpstream:
    """Hands each exchange to an ASGI app, called in the request's own task, with `scope["micro.context"]` set.

    The app gets a copy of the server's scope: the header is `request_headers`, `client` and `scheme` are what a trusted
    proxy says, and there are no extensions of the server.
    """

    __slots__ = ("_generation",)

    def __init__(self, app: ASGIApp) -> None:
        self._generation = Generation(app)

    def replace(self, app: ASGIApp) -> Generation:
        """Send requests to `app` from now on. Those in flight finish where they are: wait for it with `drained`."""
        before, self._generation = self._generation, Generation(app)
        return before

    async def call(self, scope: Any, receive: Receive, send: Send) -> None:
        """Run the app with a scope of the caller's own."""
        await self._generation.serve(scope, receive, send)

    def serve(self, exchange: Exchange, receive: Receive, send: Send) -> Awaitable[None]:
        """See `Upstream.serve`."""
        return self._generation.serve(scope_of(exchange), receive, send)


def scope_of(exchange: Exchange) -> dict[str, Any]:
    """The scope for an app (https://asgi.readthedocs.io/en/stable/specs/www.html): the server's, with our words in it.

    Extensions of the server stay behind, but for a WebSocket's: their messages would pass policies unseen.
    """
    scope = exchange.scope.copy()
    peer = exchange.peer
    client = exchange.client
    scope["raw_path"] = exchange.target
    if exchange.target is not exchange.path:
        scope["path"] = decoded(exchange.target).decode("utf-8", "replace")
    scope["root_path"] = ""
    scope["headers"] = request_headers(exchange)
    if exchange.trusted:
        scope["scheme"] = scheme_of(scope, scope["headers"])
    scope["client"] = peer if peer is None or client == peer[0] else (client, 0)
    scope["state"] = {}
    scope["micro.context"] = Context(
        exchange.correlation_id,
        exchange.request_id,
        exchange.traceparent.decode("ascii"),
        exchange.request_id,
    )
    if "extensions" in scope:
        scope["extensions"] = {name: {} for name in scope["extensions"] if name == DENIAL}
    return scope
