"""The instances of a service on the network as an upstream."""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Any

from micro.gateway.exchange import Exchange
from micro.gateway.headers import HOP_BY_HOP
from micro.gateway.upstream.breaker import CLOSED
from micro.gateway.upstream.bridge import Bridge
from micro.gateway.upstream.leg import NetworkLeg
from micro.gateway.upstream.local import EXCHANGE
from micro.gateway.upstream.pool import Pool
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.request import usual_head
from micro.gateway.upstream.retry import IDEMPOTENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from micro.clock import Clock
    from micro.gateway.deadlines import Wheel
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.cluster import Cluster
    from micro.gateway.upstream.connection import Connection
    from micro.gateway.upstream.direct import Downstream
    from micro.gateway.upstream.instance import Instance
    from micro.gateway.upstream.ports import Receive, Send
    from micro.gateway.upstream.proof import Proof
    from micro.gateway.upstream.tunnel import Tunnel


class NetworkUpstream:
    """Sends exchanges to the instances of a cluster in HTTP/1.1, over connections that it keeps.

    The cluster says which instance, and whether and when a request is sent again. One object serves one event loop.
    """

    __slots__ = ("_pools", "_tasks", "clock", "closed", "cluster", "monotonic", "proof", "spec", "wheel")

    def __init__(self, cluster: Cluster, *, clock: Clock, wheel: Wheel, proof: Proof | None = None) -> None:
        """`proof` goes with every request; only instances of the stack's own get one."""
        self.cluster = cluster
        self.proof = proof
        self.spec = cluster.spec
        self.clock = clock
        self.monotonic = clock.monotonic
        self.wheel = wheel
        self._pools: set[Pool] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        """Whether nothing more is sent."""
        cluster.on_gone = self._forget

    def start(self, exchange: Exchange, downstream: Downstream, *, body: bool) -> None:
        """See `DirectUpstream.start`. What needs no `NetworkLeg` is sent at once: see `Connection`."""
        cluster = self.cluster
        slots = cluster.slots
        if body or slots.active >= slots.limit or slots.waiting:
            self._leg(exchange, downstream, body=body).begin()
            return
        slots.active += 1  # as `Slots.enter` does
        try:
            instance = cluster.pick(exchange)
        except UpstreamError:
            self._leg(exchange, downstream).go()  # which will be told the same
            return
        pool: Pool = instance.pool or self.pool_of(instance)
        head = usual_head(exchange, pool) if instance.breaker.state == CLOSED else b""
        connection = pool.take(exchange.method in IDEMPOTENT) if head else None
        if connection is None:
            self._leg(exchange, downstream).visit(instance)
            return
        instance.active += 1  # as `Cluster.began` does, where the breaker is closed
        exchange.instance = instance.name
        exchange.tries = 1
        downstream.leg = connection
        connection.carry(exchange, downstream, head)

    def _leg(self, exchange: Exchange, downstream: Downstream, *, body: bool = False) -> NetworkLeg:
        """A leg that its client's side knows of."""
        leg = downstream.leg = NetworkLeg(self, exchange, downstream, body)
        return leg

    def leg(
        self, exchange: Exchange, downstream: Downstream, *, body: bool, headers: list[Pair] | None
    ) -> NetworkLeg:
        """A leg that has not begun; `headers` are sent in place of the gateway's usual ones."""
        exchange.began = self.monotonic()
        leg = NetworkLeg(self, exchange, downstream, body)
        leg.headers = headers
        return leg

    def serve(self, exchange: Exchange, receive: Receive, send: Send) -> Awaitable[None]:
        """See `Upstream.serve`. A WebSocket's messages pass whole, up to 16 MiB; its close codes and reasons, too."""
        return self._bridge(exchange, receive, send, None)

    def call(self, scope: dict[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        """Answer an ASGI scope of the caller's own, as an application would; raises `UpstreamError` where none came.

        Its header goes on as it is but for the fields of the connection; `Host` is the URL's, except for a request that
        the gateway itself has passed on to an upstream with `pass_host`. The caller keeps the deadline; where that is the
        gateway, behind middleware, the instance is told of it.
        """
        exchange = Called(scope, self.monotonic())
        headers = [pair for pair in scope["headers"] if pair[0] not in HOP_BY_HOP]
        answer = self._bridge(exchange, receive, send, headers)
        return answer if exchange.of is None else _reported(answer, exchange, exchange.of)

    async def probe(self, instance: Instance, path: str) -> int:
        """The status of `GET path` at an instance, over a connection of its own.

        Raises `UpstreamError`. The time to connect is limited; the caller limits the rest.
        """
        from micro.gateway.upstream.inquiry import inquire  # noqa: PLC0415 # loaded when first used

        return await inquire(self.pool_of(instance), path)

    def _bridge(
        self, exchange: Exchange, receive: Receive, send: Send, headers: list[Pair] | None
    ) -> Awaitable[None]:
        if exchange.scope["type"] == "websocket":
            from micro.gateway.upstream.websocket import SocketBridge  # noqa: PLC0415 # loaded when first used

            return SocketBridge(exchange, receive, send).run(self, headers)
        return Bridge(receive, send).run(self, exchange, headers=headers)

    def pool_of(self, instance: Instance) -> Pool:
        """The instance's connections."""
        pool: Pool | None = instance.pool
        if pool is None:
            pool = instance.pool = Pool(instance, self)
            self._pools.add(pool)
        return pool

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with this upstream at the latest, in a context of its own."""
        task = asyncio.get_running_loop().create_task(coroutine, context=Variables())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def is_late(self, exchange: Exchange) -> bool:
        """Whether the time that the route gives an exchange is over."""
        pipeline = exchange.pipeline
        return pipeline is not None and 0 < pipeline.timeout <= self.monotonic() - exchange.started

    def tunnel(self, leg: NetworkLeg, connection: Connection) -> Tunnel:
        """What passes bytes both ways after a 101."""
        from micro.gateway.upstream.tunnel import Tunnel  # noqa: PLC0415 # loaded when first used

        return Tunnel(leg, connection, patience=self.spec.read_timeout)

    def _forget(self, instance: Instance) -> None:
        """The instance has left the cluster, and nothing is on its way to it any more."""
        if instance.pool is not None:
            self._pools.discard(instance.pool)
            instance.pool.drop()

    async def close(self) -> None:
        """Close every connection, idle or not, and end what is being opened. Idempotent."""
        self.closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in self._pools:
            await pool.close()


class Called(Exchange):
    """What comes by `NetworkUpstream.call`: no policy of the gateway's has to do with this leg of it."""

    __slots__ = ("of",)

    def __init__(self, scope: dict[str, Any], now: float) -> None:
        super().__init__(scope.get("method", "GET"), scope.get("raw_path") or b"/", scope["headers"])
        self.scope = scope
        self.query = scope["query_string"]
        self.version = scope["http_version"]
        self.scheme = scope["scheme"]
        self.peer = scope.get("client")
        self.client = self.peer[0] if self.peer is not None else ""
        self.started = now
        of: Exchange | None = scope.get(EXCHANGE)
        self.of = of
        """The exchange that the gateway passed to the middleware, where there is one."""
        if of is not None:
            self.pipeline, self.started = of.pipeline, of.started


async def _reported(answer: Awaitable[None], exchange: Exchange, of: Exchange) -> None:
    """Tell the gateway's exchange how the one behind its middleware went."""
    try:
        await answer
    finally:
        of.instance, of.tries, of.upstream_seconds = (
            exchange.instance,
            exchange.tries,
            exchange.upstream_seconds,
        )
