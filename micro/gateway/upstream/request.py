"""The header that upstreams get, and the head of a request on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.headers import FORWARDING, TIME_LEFT
from micro.gateway.upstream.ports import UpstreamError
from micro.web.fields import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Known, Pair
    from micro.gateway.upstream.pool import Pool

_JOIN = b": ".join
_BELIEVED = FORWARDING | IDENTITY
_SCHEMES = {name: (b"x-forwarded-proto", name.encode("ascii")) for name in ("http", "https")}


def request_headers(exchange: Exchange) -> list[Pair]:
    """What the client sent, without the fields of its connection, and what the gateway adds; `Host` as it came.

    From an untrusted peer nothing is left that tells of another client, proxy or user than the gateway sees itself; a
    trusted peer's word is kept and extended.
    """
    found = exchange.found
    traceparent = (b"traceparent", exchange.traceparent.encode("ascii"))
    headers = [*exchange.headers, *exchange.ids, traceparent, exchange.via]
    if b"tracestate" in found:
        headers.append((b"tracestate", found[b"tracestate"]))
    if exchange.trusted:
        headers += _extended(exchange)
    else:
        headers += (
            exchange.forwarded_for,
            _SCHEMES.get(exchange.scheme) or (b"x-forwarded-proto", exchange.scheme.encode("ascii")),
            (b"x-forwarded-host", found.get(b"host", b"")),
        )
    return headers


def time_left(exchange: Exchange, now: float) -> tuple[Pair, ...]:
    """The field that tells an upstream how long it may take: what is left of the route's time at `now`.

    Nothing where the route has no limit. In whole milliseconds and never 0, so that whoever reads it may wait for it;
    no standard has such a field but gRPC's `grpc-timeout`, which is for gRPC only.
    """
    timeout = exchange.pipeline.timeout if exchange.pipeline is not None else 0.0
    if not timeout:
        return ()
    left = int((timeout - now + exchange.started) * 1000)
    return ((TIME_LEFT, b"%d" % left if left > 0 else b"1"),)


def request_head(
    exchange: Exchange, headers: Sequence[Pair], *, base: bytes, host: bytes, framing: tuple[bytes, ...]
) -> bytes:
    """The head in HTTP/1.1: request line, `Host`, `headers` as they are, `framing` as ready lines.

    `base` is a prefix of the path; an empty `host` leaves the one in `headers`. Raises `UpstreamError` where a field or
    the target has a line end in it, which would make it two: a server in front, or a policy, let it through.
    """
    target = base + exchange.target
    if exchange.query:
        target += b"?" + exchange.query
    line = b"%b %b HTTP/1.1" % (exchange.method.encode("ascii"), target)
    lines = [line, host, *map(_JOIN, headers), *framing, b"\r\n"]
    if not host:
        del lines[1]
    head = b"\r\n".join(lines)
    ends = len(lines)
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise UpstreamError("proxy_internal_error", "a line end inside a field of the request")
    return head


def known_head(exchange: Exchange, known: Known, pool: Pool, now: float) -> bytes:
    """What `request_head` gives, with all that is the same for each request of a client's connection joined once.

    For an exchange of an untrusted peer whose header is still the one that our parser has read.
    """
    proof = pool.proof
    field = None if proof is None else proof.field(now)
    sent: Sent | None = known.sent
    if (
        sent is None
        or sent.pool is not pool
        or sent.via is not exchange.via
        or sent.forwarded_for is not exchange.forwarded_for
        or sent.proof is not field
    ):
        sent = known.sent = Sent(exchange, pool, field)
    if (
        sent.target is not exchange.target
        or sent.query is not exchange.query
        or sent.method is not exchange.method
    ):
        sent.begin(exchange)
    pipeline = exchange.pipeline
    end = b"\r\n"
    if pipeline is not None and pipeline.timeout:
        left = int((pipeline.timeout - now + exchange.started) * 1000)
        if left != sent.left:
            sent.left, sent.end = left, b"%b: %d\r\n\r\n" % (TIME_LEFT, left if left > 0 else 1)
        end = sent.end
    (_, request_id), (_, correlation_id) = exchange.ids
    return b"".join(
        (
            sent.front,
            request_id,
            b"\r\nx-correlation-id: ",
            correlation_id,
            b"\r\ntraceparent: ",
            exchange.traceparent.encode("ascii"),
            sent.back,
            end,
        )
    )


class Sent:
    """What an instance was sent of a client's header, and with which request line, to be sent again."""

    __slots__ = (
        "_lines",
        "back",
        "end",
        "forwarded_for",
        "front",
        "left",
        "method",
        "pool",
        "proof",
        "query",
        "target",
        "via",
    )

    method: str
    target: bytes
    query: bytes
    front: bytes
    """Everything in front of the request's id."""

    def __init__(self, exchange: Exchange, pool: Pool, proof: Pair | None) -> None:
        self.pool, self.via, self.forwarded_for, self.proof = (
            pool,
            exchange.via,
            exchange.forwarded_for,
            proof,
        )
        self._lines, back = _unchanging(exchange, pool, proof)
        self.back = b"\r\n" + back + b"\r\n"
        """What follows the trace."""
        self.left = 0
        """Milliseconds of the route's time, and the line that says so."""
        self.end = b""
        self.begin(exchange)

    def begin(self, exchange: Exchange) -> None:
        """Put a request's line in front. Raises `UpstreamError` for a line end in it."""
        target = self.pool.instance.base + exchange.target
        if exchange.query:
            target += b"?" + exchange.query
        if b"\n" in target or b"\r" in target:
            raise UpstreamError("proxy_internal_error", "a line end inside the target of the request")
        method = exchange.method.encode("ascii")
        self.front = b"%b %b HTTP/1.1\r\n%b\r\nx-request-id: " % (method, target, self._lines)
        self.method, self.target, self.query = exchange.method, exchange.target, exchange.query


def _unchanging(exchange: Exchange, pool: Pool, proof: Pair | None) -> tuple[bytes, bytes]:
    """The lines in front of the ids, and those behind."""
    host = exchange.found[b"host"]
    kept = [pair for pair in exchange.headers if not pool.host or pair[0] != b"host"]
    front = [pool.host, *map(_JOIN, kept)] if pool.host else [*map(_JOIN, kept)]
    scheme = (b"x-forwarded-proto", exchange.scheme.encode("ascii"))
    back = [exchange.via, exchange.forwarded_for, scheme, (b"x-forwarded-host", host)]
    if proof is not None:
        back.append(proof)
    return b"\r\n".join(front), b"\r\n".join(map(_JOIN, back))


def _extended(exchange: Exchange) -> list[Pair]:
    found = exchange.found
    own = {
        b"x-forwarded-proto": exchange.scheme.encode("ascii"),
        b"x-forwarded-host": found.get(b"host", b""),
    }
    said = {name: found[name] for name in _BELIEVED if name in found}
    peer = exchange.forwarded_for[1]
    hops = said.pop(b"x-forwarded-for", None)
    if b"forwarded" in said:
        said[b"forwarded"] += b", " + _forwarded(peer, exchange.scheme.encode("ascii"))
    return [(b"x-forwarded-for", peer if hops is None else hops + b", " + peer), *(own | said).items()]


def _forwarded(peer: bytes, scheme: bytes) -> bytes:
    """One element of `Forwarded`; an IPv6 address is bracketed and quoted (RFC 7239 section 6)."""
    node = b'"[%s]"' % peer if b":" in peer else peer
    return b"for=%s;proto=%s" % (node, scheme)
