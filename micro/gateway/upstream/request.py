"""The header that upstreams get, and the head of a request on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.headers import FORWARDING, TIME_LEFT
from micro.gateway.routes import METHODS
from micro.gateway.upstream.ports import UpstreamError
from micro.web.fields import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.pool import Pool

_JOIN = b": ".join
_BELIEVED = FORWARDING | IDENTITY
_MOST = 16
"""Pools for which a connection's header is remembered."""
_STARTS = {method: method.encode("ascii") + b" " for method in METHODS}
_SCHEMES = {name: (b"x-forwarded-proto", name.encode("ascii")) for name in ("http", "https")}


def request_headers(exchange: Exchange) -> list[Pair]:
    """What the client sent, without the fields of its connection, and what the gateway adds; `Host` as it came.

    From an untrusted peer nothing is left that tells of another client, proxy or user than the gateway sees itself; a
    trusted peer's word is kept and extended.
    """
    found = exchange.found
    traceparent = (b"traceparent", exchange.traceparent)
    headers = [*exchange.headers, *exchange.id_fields(), traceparent, exchange.via]
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


def head_for(
    exchange: Exchange, pool: Pool, *, headers: list[Pair] | None, framing: tuple[bytes, ...]
) -> bytes:
    """The head for an instance, made from scratch; `headers` instead of the gateway's usual ones, where there are any.

    What `usual_head` can use the next time is kept. Raises `UpstreamError`: see `request_head`.
    """
    if headers is None and not framing:
        _remember(exchange, pool)
    found, host = exchange.found, pool.host
    own = headers is not None
    if headers is None:
        headers = request_headers(exchange)
    elif b"x-forwarded-host" not in found:  # no gateway was there before
        host = pool.own_host
    if TIME_LEFT not in found or not own:
        headers = [*headers, *time_left(exchange, exchange.began)]
    name = found.get(b"host")
    if name is None:
        host = pool.own_host
    elif host:
        headers = _without(headers, (b"host", name))
    if b"expect" in found and exchange.version == "1.0":
        headers = _without(headers, (b"expect", found[b"expect"]))  # RFC 9110 section 10.1.1
    if pool.proof is not None:
        field = pool.proof.field(exchange.began)
        headers = [*(pair for pair in headers if pair[0] != field[0]), field]
    return request_head(exchange, headers, base=pool.base, host=host, framing=framing)


class Sent:
    """What an instance gets of a header block that a client sends again and again, joined once.

    It serves for one pool and pipeline. Nothing else has a say in it: not the policies, as long as the exchange's header
    is still the one that was read, and not the peer, which is the connection's.
    """

    __slots__ = ("back", "end", "front", "pipeline", "proof")

    def __init__(self, exchange: Exchange, pool: Pool) -> None:
        host = exchange.found[b"host"]
        kept = [pair for pair in exchange.headers if not pool.host or pair[0] != b"host"]
        front = [pool.host, *map(_JOIN, kept)] if pool.host else [*map(_JOIN, kept)]
        scheme = (b"x-forwarded-proto", exchange.scheme.encode("ascii"))
        back = [exchange.via, exchange.forwarded_for, scheme, (b"x-forwarded-host", host)]
        self.proof = None if pool.proof is None else pool.proof.field(exchange.began)
        if self.proof is not None:
            back.append(self.proof)
        self.pipeline = exchange.pipeline
        self.front = b" HTTP/1.1\r\n%b\r\n" % b"\r\n".join(front)
        """From the end of the target to the ids."""
        self.back = b"\r\n%b\r\n" % b"\r\n".join(map(_JOIN, back))
        """From the end of the trace on, but for the time that is left."""
        self.end = _time_line(exchange, exchange.started)
        """That, where nothing was waited for, and the empty line."""


def usual_head(exchange: Exchange, pool: Pool) -> bytes:
    """What `head_for` gives, put together from what was joined before; empty where that does not serve."""
    known, proof, start = exchange.known, pool.proof, _STARTS.get(exchange.method)
    if known is None or start is None:
        return b""
    sent: Sent | None = known.sent.get(pool)
    if (
        sent is None
        or sent.pipeline is not exchange.pipeline
        or exchange.headers is not known.kept
        or exchange.found is not known.found
        or (proof is not None and proof.field(exchange.began) is not sent.proof)
    ):
        return b""
    target = exchange.target
    if target is not exchange.path and (b"\n" in target or b"\r" in target):
        return b""
    if exchange.query:
        target += b"?" + exchange.query
    began = exchange.began
    return b"".join(
        (
            start,
            pool.base,
            target,
            sent.front,
            exchange.ids,
            b"traceparent: ",
            exchange.traceparent,
            sent.back,
            sent.end if began == exchange.started else _time_line(exchange, began),
        )
    )


def _remember(exchange: Exchange, pool: Pool) -> None:
    """Keep what an instance gets of a header, where that will be the same the next time."""
    known, pipeline = exchange.known, exchange.pipeline
    if (
        known is not None
        and known.usual
        and exchange.headers is known.kept
        and exchange.found is known.found
        and exchange.version == "1.1"
        and not exchange.trusted
        and pipeline is not None
        and not pipeline.foreign
    ):
        if len(known.sent) >= _MOST:
            known.sent.clear()
        known.sent[pool] = Sent(exchange, pool)


def _time_line(exchange: Exchange, now: float) -> bytes:
    """The line that says how much time is left at `now`, where there is a limit, and the empty line."""
    return b"".join(b"%b: %b\r\n" % pair for pair in time_left(exchange, now)) + b"\r\n"


def _without(headers: list[Pair], pair: Pair) -> list[Pair]:
    """`headers` without a field, which is there once, if no policy has put another in its place."""
    try:
        headers.remove(pair)
    except ValueError:
        return [other for other in headers if other[0] != pair[0]]
    return headers


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
