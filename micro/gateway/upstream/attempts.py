"""The tries of one exchange: a slot, an instance, a connection, the request on it; and again where that may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.headers import TIME_LEFT
from micro.gateway.upstream.breaker import CLOSED
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.request import known_head, request_head, request_headers, time_left
from micro.gateway.upstream.retry import IDEMPOTENT

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

KEPT = 64 << 10
"""Bytes of a request's body that are kept to be sent again."""
LAST_CHUNK = b"0\r\n\r\n"
_CHUNKED = (b"transfer-encoding: chunked",)
_UPGRADE = (b"connection: Upgrade", b"upgrade: websocket")


class Attempts:
    """Holds a slot of the cluster from `begin` to its end, and at most one connection or one task that gets it one."""

    __slots__ = (
        "_began",
        "_chunked",
        "_connection",
        "_ended",
        "_exchange",
        "_instance",
        "_kept",
        "_paused",
        "_queued",
        "_size",
        "_task",
        "_tried",
        "_unwanted",
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
        self._upstream = upstream
        self._exchange = exchange
        self.downstream = downstream
        self.headers: list[Pair] | None = None
        """The header to send, where it is not the gateway's usual one."""
        self._ended = not body
        """Whether the client has sent all."""
        self._kept: list[bytes] | None = []
        """The body so far, or nothing where it is not to be sent again."""
        self._tried: tuple[Instance, ...] = ()
        self._connection: Connection | None = None
        self._task: Task[None] | None = None
        self._paused = False
        """Whether the client was asked to wait before there was a connection."""
        self._queued = False
        self.over = False
        """Whether nothing more is to be said to the client's side."""
        self._unwanted = False
        """Whether the instance answered before it had all, and wants no more."""
        self.answered = False
        """Whether the client's side has the final head."""
        self.tunnel: Tunnel | None = None
        """What connects both sides after a 101."""
        found = exchange.found
        self.upgrade = b"upgrade" in found and is_websocket(exchange)
        """Whether it asks for a WebSocket."""
        self._chunked = body and b"content-length" not in found
        self._size = 0
        self._instance: Instance | None = None
        """Where it is, once the cluster knows of it."""

    def begin(self) -> None:
        """Send it, now or when there is a slot."""
        slots = self._upstream.cluster.slots
        if slots.active < slots.limit and not slots.waiting:  # as `Slots.enter` has it, most of the time
            slots.active += 1
            self._try()
            return
        try:
            admitted = slots.enter(self)
        except UpstreamError as error:
            self.over = True
            self.downstream.fail(error)
            return
        if admitted:
            self._try()
        else:
            self._queued = True

    def admitted(self) -> None:
        """See `Waiter.admitted`."""
        self._queued = False
        self._try()

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

    def _try(self) -> None:
        upstream, exchange = self._upstream, self._exchange
        cluster = upstream.cluster
        try:
            instance = cluster.pick(exchange, self._tried)
        except UpstreamError as error:
            self._give_up(error)
            return
        if instance.breaker.state == CLOSED:
            instance.active += 1
        else:
            cluster.began(instance)
        self._instance = instance
        monotonic = upstream.monotonic  # a callable kept in a slot is called faster by a name
        self._began = monotonic()
        exchange.instance = instance.name
        exchange.tries += 1
        pool = instance.pool or upstream.pool_of(instance)
        connection = None if self._tried else pool.take(repeatable=exchange.method in IDEMPOTENT)
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
        exchange = self._exchange
        self._connection = connection
        connection.claim(self, mute=exchange.method == "HEAD")  # type: ignore[arg-type] # nobody else derives from this class
        try:
            data = self._head(pool)
        except UpstreamError as error:
            connection.drop()
            self._connection = None
            self._report(failed=None)
            self._give_up(error)
            return
        if self._kept:
            data += b"".join(map(chunk, self._kept)) if self._chunked else b"".join(self._kept)
        if self._ended:
            if self._chunked:
                data += LAST_CHUNK
            seconds = self._upstream.spec.first_byte_timeout
            if seconds is not None:
                connection.limit(self._began + seconds)
        connection.transport.write(data)
        if self._paused:  # while there was no connection
            self._paused = False
            self.downstream.resume()

    def _head(self, pool: Pool) -> bytes:
        exchange, host = self._exchange, pool.host
        known, found = exchange.known, exchange.found
        pipeline = exchange.pipeline
        if (
            known is not None
            and known.usual
            # nothing has changed the header since it was read, and nothing is to be added to it
            and exchange.headers is known.kept
            and exchange.found is known.found
            and exchange.version == "1.1"
            and not (exchange.trusted or self._chunked or self.upgrade)
            and pipeline is not None
            and not pipeline.foreign
        ):
            return known_head(exchange, known, pool, self._began)
        headers = self.headers
        if headers is None:
            headers = request_headers(exchange)
        elif b"x-forwarded-host" not in found:  # no gateway was there before
            host = pool.own_host
        if TIME_LEFT not in found or self.headers is None:
            headers = [*headers, *time_left(exchange, self._began)]
        name = found.get(b"host")
        if name is None:
            host = pool.own_host
        elif host:
            headers = _without(headers, (b"host", name))
        if b"expect" in found and exchange.version == "1.0":
            headers = _without(headers, (b"expect", found[b"expect"]))  # RFC 9110 section 10.1.1
        if pool.proof is not None:
            field = pool.proof.field(self._began)
            headers = [*(pair for pair in headers if pair[0] != field[0]), field]
        framing = _CHUNKED if self._chunked else _UPGRADE if self.upgrade else ()
        return request_head(exchange, headers, base=pool.instance.base, host=host, framing=framing)

    def _keep(self, kept: list[bytes], data: bytes) -> None:
        """Hold on to a piece of the body: until there is a connection, and after that as long as it may be repeated."""
        size = self._size = self._size + len(data)
        waiting = self._connection is None
        if waiting or (size <= KEPT and self._exchange.method in IDEMPOTENT):
            kept.append(data)
        else:
            self._kept = None
        if waiting and size > KEPT and not self._paused:
            self._paused = True
            self.downstream.pause()

    def _may_resend(self, *, sent: bool) -> bool:
        upstream = self._upstream
        return not (self.over or upstream.closed) and upstream.cluster.may_resend(
            self._exchange, sent=sent, at_hand=self._kept is not None
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
        self._try()

    def _report(self, *, failed: bool | None) -> None:
        """The cluster's instance is done with: see `Cluster.ended`."""
        instance, self._instance = self._instance, None
        if instance is not None:
            self._upstream.cluster.ended(instance, failed, self._upstream.monotonic() - self._began)

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


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _without(headers: list[Pair], pair: Pair) -> list[Pair]:
    """`headers` without a field, which is there once, if no policy has put another in its place."""
    try:
        headers.remove(pair)
    except ValueError:
        return [other for other in headers if other[0] != pair[0]]
    return headers
