"""Who sends a request, and what it is called from here on: client address, request id, correlation id, trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from micro.ids import TRACE_FLAGS, is_traceparent, is_tracestate
from micro.security.peers import plain

if TYPE_CHECKING:
    from micro.gateway.entropy import Ids
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.security.peers import TrustedPeers

_ID = re.compile(rb"[A-Za-z0-9_.-]{1,128}\Z")
_FOR = re.compile(rb'(?:^|[,;])[ \t]*for=(?:"([^"]*)"|([^,;" \t]*))', re.IGNORECASE)
_MOST = 256
"""How many peers are remembered."""
_REQUEST, _CORRELATION, _END = b"x-request-id: ", b"\r\nx-correlation-id: ", b"\r\n"
_join = b"".join


class Identification:
    """Names every exchange; never refuses one.

    The client is the peer, or what trusted peers say in `X-Forwarded-For`, or in `Forwarded` where they don't send the
    other, read from the right. `X-Request-ID` is taken from trusted peers only, `X-Correlation-ID` from anyone where it
    is 1 to 128 of ``A-Z a-z 0-9 _ . -``; it is the request id otherwise. Both are echoed. The client's trace goes on
    with a span of the gateway's own; without a valid `traceparent` there is a new trace, and `tracestate` is dropped, as
    it is where it can't be read (https://www.w3.org/TR/trace-context/#processing-model).
    """

    __slots__ = ("_ids", "_known", "_peers")
    adds = True

    def __init__(self, peers: TrustedPeers | None, ids: Ids) -> None:
        """`peers`: the trusted ones; none where nobody is."""
        self._peers = peers
        self._ids = ids
        self._known: dict[str, tuple[str, Pair]] = {}

    def on_request(self, exchange: Exchange) -> None:
        """Write client, ids and trace into the exchange."""
        peer = exchange.peer
        address = peer[0] if peer is not None else "unknown"
        exchange.client, exchange.forwarded_for = self._known.get(address) or self._remember(address)
        field, exchange.traceparent = self._ids.make(exchange.started)
        exchange.trusted = False
        known = exchange.known
        if known is not None and known.nameless and self._peers is None:  # most of the time
            exchange.ids = _join((_REQUEST, field, _CORRELATION, field, _END))
            exchange.request_id = exchange.correlation_id = field.decode("ascii")
            return
        found = exchange.found
        if self._peers is not None and self._peers.trusts(exchange.client):
            exchange.trusted = True
            exchange.client = self._peers.client_ip(exchange.client, _hops(found))
            field = _id(found.get(b"x-request-id")) or field
        correlation = _id(found.get(b"x-correlation-id")) or field
        exchange.ids = _join((_REQUEST, field, _CORRELATION, correlation, _END))
        exchange.request_id, exchange.correlation_id = field.decode("ascii"), correlation.decode("ascii")
        if b"traceparent" in found or b"tracestate" in found:
            self._continue_trace(exchange, found)

    def on_response(self, exchange: Exchange) -> None:
        """Echo the ids."""
        exchange.fields += exchange.id_fields()

    def _remember(self, address: str) -> tuple[str, Pair]:
        client = plain(address)
        if len(self._known) >= _MOST:
            self._known.clear()
        known = self._known[address] = (client, (b"x-forwarded-for", client.encode("ascii")))
        return known

    def _continue_trace(self, exchange: Exchange, found: dict[bytes, bytes]) -> None:
        parent = found.get(b"traceparent", b"").decode("latin-1")
        if not is_traceparent(parent):
            exchange.found = _without_state(found)
            return
        flags = int(parent[53:55], 16) & TRACE_FLAGS
        exchange.traceparent = b"00-%b-%b-%02x" % (parent[3:35].encode("ascii"), self._ids.span_id(), flags)
        state = found.get(b"tracestate")
        if state is not None and not is_tracestate(state):
            exchange.found = _without_state(found)

    def __str__(self) -> str:
        return "identity: client address, request id, correlation id, trace"


def _id(value: bytes | None) -> bytes | None:
    return value if value is not None and _ID.match(value) else None


def _without_state(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """A copy: the connection's next request may be read from the same fields."""
    return {name: value for name, value in found.items() if name != b"tracestate"}


def _hops(found: dict[bytes, bytes]) -> str | None:
    value = found.get(b"x-forwarded-for")
    if value is None:
        forwarded = found.get(b"forwarded")
        if forwarded is None:
            return None
        value = b",".join(quoted or bare for quoted, bare in _FOR.findall(forwarded))
    return value.decode("latin-1")
