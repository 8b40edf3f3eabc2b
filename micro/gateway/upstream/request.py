"""The header that upstreams get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.headers import FORWARDING, IDENTITY, without_named

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair

_BELIEVED = FORWARDING | IDENTITY
_HARMLESS = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})


def request_headers(exchange: Exchange) -> list[Pair]:
    """What the client sent, without the fields of its connection, and what the gateway adds; `Host` as it came.

    From an untrusted peer nothing is left that tells of another client, proxy or user than the gateway sees itself; a
    trusted peer's word is kept and extended.
    """
    found = exchange.found
    kept = exchange.headers
    if b"connection" in found and found[b"connection"] not in _HARMLESS:
        kept = without_named(kept, found[b"connection"])
    headers = [*kept, *exchange.ids, (b"traceparent", exchange.traceparent.encode("ascii")), exchange.via]
    if b"tracestate" in found:
        headers.append((b"tracestate", found[b"tracestate"]))
    if exchange.trusted:
        headers += _extended(exchange)
    else:
        headers += (
            exchange.forwarded_for,
            (b"x-forwarded-proto", exchange.scheme.encode("ascii")),
            (b"x-forwarded-host", found.get(b"host", b"")),
        )
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
