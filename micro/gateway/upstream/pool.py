"""The connections to one instance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from micro.errors import ConfigurationError
from micro.gateway.upstream.connection import Connection
from micro.gateway.upstream.dial import dial
from micro.gateway.upstream.line import NEVER
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.tls import client_context
from micro.web.server.outgoing import Outgoing

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from micro.gateway.upstream.instance import Instance
    from micro.gateway.upstream.line import Line
    from micro.gateway.upstream.network import NetworkUpstream

    Made = TypeVar("Made", bound=asyncio.Protocol)

RECENT = 1.0
"""Seconds after which an idle connection may have been closed by an instance without our knowing it yet."""


class Pool:
    """Keeps connections for the next request, the one used last first, so that the others can grow old and be closed.

    How many there may be is the cluster's to say: it sends an instance no more than `max_connections` at one time.
    """

    __slots__ = (
        "_context",
        "_emptied",
        "base",
        "cluster",
        "connections",
        "host",
        "idle",
        "instance",
        "keep_alive",
        "monotonic",
        "outgoing",
        "own_host",
        "patience",
        "proof",
        "spec",
        "upstream",
        "wheel",
    )

    def __init__(self, instance: Instance, upstream: NetworkUpstream) -> None:
        self.instance = instance
        self.upstream = upstream
        self.cluster = upstream.cluster
        self.base = instance.base
        self.spec = spec = upstream.spec
        self.keep_alive = spec.keep_alive
        self.patience = NEVER if spec.first_byte_timeout is None else spec.first_byte_timeout
        """Seconds that an answer may take to begin."""
        self.proof = upstream.proof
        """Goes with every request, where the instance is of the stack's own."""
        self.monotonic = upstream.monotonic
        self.wheel = upstream.wheel
        self.outgoing = Outgoing()
        self.own_host = b"host: " + authority(instance)
        """The `Host` line of the instance's URL."""
        self.host = b"" if spec.pass_host else self.own_host
        """The `Host` line to send, where it is not the client's."""
        self.idle: list[Connection] = []
        self.connections: set[Connection] = set()
        self._context: ssl.SSLContext | None = None
        self._emptied: asyncio.Event | None = None

    def take(self, repeatable: bool) -> Connection | None:  # noqa: FBT001 # a name would cost more than the rest
        """An idle connection, if there is one that will do.

        A request that must not be repeated gets one that was in use a moment ago: an instance closes those that are
        idle for long, and the request would be lost (as HAProxy's `http-reuse safe` avoids it).
        """
        idle = self.idle
        while idle:
            connection = idle.pop()
            is_closing = connection.transport.is_closing  # what a slot holds is called faster by a name
            if is_closing():
                continue
            if repeatable or self.monotonic() - connection.since < RECENT:
                return connection
            connection.transport.abort()
        return None

    async def open(self, protocol: Callable[[], Made]) -> Made:
        """A new connection to the instance. Raises `UpstreamError`."""
        instance, spec = self.instance, self.spec
        if instance.tls and self._context is None:
            try:
                self._context = client_context(spec.tls)
            except ConfigurationError as error:
                raise UpstreamError("proxy_configuration_error", str(error)) from error
        return await dial(
            instance,
            protocol,
            timeout=spec.connect_timeout,
            context=self._context,
            server_name=(spec.tls.server_name or instance.host) if instance.tls else None,
        )

    async def connect(self) -> Connection:
        """A new connection for exchanges. Raises `UpstreamError`."""
        connection = await self.open(lambda: Connection(self))
        if connection.transport.is_closing():
            raise UpstreamError(
                "connection_terminated", f"{self.instance.name}: closed as soon as it was open"
            )
        self.connections.add(connection)
        return connection

    def forget(self, connection: Line) -> None:
        """It is closed."""
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self._emptied is not None and not self.connections:
            self._emptied.set()

    def drop(self) -> None:
        """Close every connection; exchanges on them fail."""
        for connection in tuple(self.connections):
            connection.transport.abort()

    async def close(self) -> None:
        """The same, and wait until they are closed."""
        self._emptied = asyncio.Event()
        self.drop()
        if self.connections:
            await self._emptied.wait()


def authority(instance: Instance) -> bytes:
    """`Host` for an instance (RFC 9110 section 7.2): its port only where it isn't the scheme's own."""
    host = f"[{instance.host}]" if ":" in instance.host else instance.host
    usual = 443 if instance.tls else 80
    return (host if instance.port == usual else f"{host}:{instance.port}").encode(
        "idna" if not host.isascii() else "ascii"
    )
