"""The tries of one exchange: a slot, an instance, a connection, the request on it; and again where that may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.request import head_for, usual_head
from micro.gateway.upstream.retry import IDEMPOTENT
from micro.gateway.upstream.upload import Upload

if TYPE_CHECKING:
    from asyncio import Task

    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.connection import Connection
    from micro.gateway.upstream.direct import Downstream
    from micro.gateway.upstream.instance import Instance
    from micro.gateway.upstream.network import NetworkUpstream
    from micro.gateway.upstream.pool import Pool
    from micro.gateway.upstream.tunnel import Tunnel

NEVER = float("inf")
_CHUNKED = (b"transfer-encoding: chunked",)
_UPGRADE = (b"connection: Upgrade", b"upgrade: websocket")


class Attempts:
    """Holds a slot of the cluster from when it has one to its end, and at most one connection or one task that gets it one."""

    __slots__ = (
        "_connection",
        "_exchange",
        "_instance",
        "_task",
        "_tried",
        "_upload",
        "_upstream",
        "answered",
        "downstream",
        "headers",
        "over",
        "tunnel",
        "upgrade",
    )

    def __init__(
        self,
        upstream: NetworkUpstream,
        exchange: Exchange,
        downstream: Downstream,
        body: bool,  # noqa: FBT001 # given by its place: a name would cost a dictionary
    ) -> None:
        found = exchange.found
        self._upstream = upstream
        self._exchange = exchange
        self.downstream = downstream
        self.headers: list[Pair] | None = None
        """The header to send, where it is not the gateway's usual one."""
        self._upload = Upload(chunked=b"content-length" not in found) if body else None
        self._tried: tuple[Instance, ...] = ()
        self._connection: Connection | None = None
        self._task: Task[None] | None = None
        self._instance: Instance | None = None
        """Where it is, once the cluster knows of it."""
        self.over = False
        """Whether nothing more is to be said to the client's side."""
        self.answered = False
        """Whether the client's side has the final head."""
        self.tunnel: Tunnel | None = None
        """What connects both sides after a 101."""
        self.upgrade = b"upgrade" in found and is_websocket(exchange)
        """Whether it asks for a WebSocket."""

    def begin(self) -> None:
        """Send it, now or when there is a slot. `exchange.began` says when that is."""
        try:
            admitted = self._upstream.cluster.slots.enter(self)
        except UpstreamError as error:
            self.over = True
            self.downstream.fail(error)
            return
        if admitted:
            self.go()

    def follow(self, connection: Connection) -> None:
        """Look after an exchange that `connection` has looked after so far."""
        self._connection, self._instance = connection, connection.pool.instance

    def admitted(self) -> None:
        """See `Waiter.admitted`."""
        self._go_now()

    def refused(self) -> None:
        """See `Waiter.refused`."""
        self.over = True
        self.downstream.fail(UpstreamError("connection_limit_reached", "no slot became free in time"))

    def failed(self, error: UpstreamError, *, sent: bool = True, stale: bool = False) -> None:
        """The try came to nothing; `stale`: the instance is not to blame, it had closed an idle connection."""
        self._connection = None
        if not self.answered and self._may_resend(sent=sent):
            self._again(failed=None if stale else True)
        else:
            self._report(failed=True)
            self._give_up(error)

    def _go_now(self) -> None:
        """Something was waited for meanwhile."""
        self._exchange.began = self._upstream.clock.monotonic()
        self.go()

    def go(self) -> None:
        """It has a slot: find it an instance."""
        try:
            instance = self._upstream.cluster.pick(self._exchange, self._tried)
        except UpstreamError as error:
            self._give_up(error)
        else:
            self.visit(instance)

    def visit(self, instance: Instance) -> None:
        """It has an instance: find it a connection."""
        upstream, exchange = self._upstream, self._exchange
        upstream.cluster.began(instance)
        self._instance = instance
        exchange.instance = instance.name
        exchange.tries += 1
        pool = instance.pool or upstream.pool_of(instance)
        connection = None if self._tried else pool.take(exchange.method in IDEMPOTENT)
        if connection is None:
            self._task = upstream.spawn(self._connect(pool))
        else:
            self._send(connection, pool)

    async def _connect(self, pool: Pool) -> None:
        try:
            connection = await pool.connect()
        except UpstreamError as error:
            self._task = None
            self.failed(error, sent=False)
        else:
            self._task = None
            self._send(connection, pool)

    def _send(self, connection: Connection, pool: Pool) -> None:
        exchange, upload = self._exchange, self._upload
        self._connection = connection
        connection.leg = self  # type: ignore[assignment] # nobody but `NetworkLeg` derives from this class
        if exchange.method == "HEAD":
            connection.reader.begin(mute=True)
        data = usual_head(exchange, pool)
        if not data:
            try:
                data = self._head(pool)
            except UpstreamError as error:
                connection.drop()
                self._connection = None
                self._report(failed=None)
                self._give_up(error)
                return
        if upload is not None:
            data += upload.so_far()
        if upload is None or upload.ended:
            connection.awaiting, connection.downstream = exchange, self.downstream
            connection.limit(exchange.began + pool.patience)
        else:
            connection.deadline = NEVER
        connection.transport.write(data)
        if upload is not None and upload.paused:
            upload.paused = False
            self.downstream.resume()

    def _head(self, pool: Pool) -> bytes:
        chunked = self._upload is not None and self._upload.chunked
        framing = _CHUNKED if chunked else _UPGRADE if self.upgrade else ()
        return head_for(self._exchange, pool, headers=self.headers, framing=framing)

    def _may_resend(self, *, sent: bool) -> bool:
        upstream, upload = self._upstream, self._upload
        return not (self.over or upstream.closed) and upstream.cluster.may_resend(
            self._exchange, sent=sent, at_hand=upload is None or upload.kept is not None
        )

    def _again(self, *, failed: bool | None) -> None:
        """Try once more, elsewhere if possible, after a wait that keeps retries from coming all at once."""
        assert self._instance is not None  # it has been tried
        self._tried = (*self._tried, self._instance)
        self._report(failed=failed)
        self._task = self._upstream.spawn(self._wait())

    async def _wait(self) -> None:
        upstream = self._upstream
        await upstream.clock.sleep(upstream.cluster.retry_wait(self._exchange.tries))
        self._task = None
        self._go_now()

    def _report(self, *, failed: bool | None) -> None:
        """The cluster's instance is done with: see `Cluster.ended`."""
        instance, self._instance = self._instance, None
        if instance is not None:
            upstream = self._upstream
            upstream.cluster.ended(instance, failed, upstream.clock.monotonic() - self._exchange.began)

    def _give_up(self, error: UpstreamError) -> None:
        self.over = True
        self._upstream.cluster.slots.leave()
        self.downstream.fail(error)


def is_websocket(exchange: Exchange) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.1); no other upgrade is passed on."""
    found = exchange.found
    options = found.get(b"connection", b"").lower().split(b",")
    return (
        found.get(b"upgrade", b"").strip().lower() == b"websocket"
        and exchange.method == "GET"
        and exchange.version == "1.1"
        and any(option.strip() == b"upgrade" for option in options)
    )
