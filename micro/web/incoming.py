"""A request that comes straight from the network: who sent it, what of it is believed, its ids and its trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from micro.context import Context
from micro.errors import CallError, TokenError
from micro.ids import child_traceparent, new_id
from micro.web.auth import authenticate
from micro.web.fields import IDENTITY, PEER, spellings
from micro.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from micro.clock import Clock
    from micro.security.peers import TrustedPeers
    from micro.service import Verifier

    Pairs = Sequence[tuple[bytes, bytes]]

_ID = re.compile(rb"[A-Za-z0-9_.-]{1,128}\Z")
_NAMES = frozenset({b"x-request-id", b"x-correlation-id", b"traceparent"})
_PROOFS = frozenset(spellings(PEER))
_CLAIMS = _PROOFS | {spelling for name in IDENTITY for spelling in spellings(name)}
"""What nobody outside the stack may say."""
_OVER_TLS = {"http": "https", "ws": "wss"}
_SAYS_SO = frozenset((b"x-forwarded-proto", scheme) for scheme in (b"https", b"wss"))


class Arrival(NamedTuple):
    """What a service makes of a request."""

    context: Context
    ours: bool
    """Whether the stack itself sent it: its gateway, which has looked at it, or another service."""
    headers: Pairs
    """The fields that the app may believe: from others none that says who the user is."""
    client: tuple[str, int] | None
    """Whom it comes from: who connected, or whom our gateway says that it asks for."""


def id_from(value: bytes | None) -> str | None:
    """An id that a header may bring: 1 to 128 of ``A-Z a-z 0-9 _ . -``; anything else counts as absent."""
    return value.decode("ascii") if value is not None and _ID.match(value) else None


def scheme_of(scope: Mapping[str, Any], headers: Pairs) -> str:
    """The scheme that the client used: with TLS where `headers`, which are believed, say that a proxy has ended it."""
    scheme: str = scope.get("scheme", "http")
    return scheme if _SAYS_SO.isdisjoint(headers) else _OVER_TLS.get(scheme, scheme)


async def arrival(
    scope: Mapping[str, Any], verifier: Verifier, clock: Clock, *, peers: TrustedPeers | None = None
) -> Arrival:
    """Look at the request of an ASGI scope. It is ours where `micro.web.fields.PEER` holds a service's token.

    `peers` are the proxies in front of our gateway whose word on the client is taken.
    """
    headers: Pairs = scope["headers"]
    client = scope.get("client")
    claims = _CLAIMS.intersection([name for name, _ in headers])
    if not claims:
        return Arrival(await incoming_context(headers, verifier, clock), False, headers, client)
    ours = PEER in claims and await _is_ours(dict(headers)[PEER], verifier)
    context = await incoming_context(headers, verifier, clock, ours=ours)
    dropped = _PROOFS if ours else _CLAIMS
    kept = [pair for pair in headers if pair[0] not in dropped]
    return Arrival(context, ours, kept, _asked_for(kept, client, peers) if ours else client)


async def incoming_context(
    headers: Pairs, verifier: Verifier, clock: Clock, *, ours: bool = False
) -> Context:
    """The context of a request that no gateway of this process has prepared.

    The request id is taken over from the stack itself (`ours`) and from a peer that shows a service's token, else made;
    the correlation id is taken from anyone, else it is the request id; the trace is continued.
    """
    given = {name: value for name, value in headers if name in _NAMES} if headers else {}
    request_id = id_from(given.get(b"x-request-id"))
    if request_id is None or not (ours or await _is_service(headers, verifier)):
        request_id = new_id(clock)
    return Context(
        correlation_id=id_from(given.get(b"x-correlation-id")) or request_id,
        causation_id=request_id,
        traceparent=child_traceparent(given.get(b"traceparent", b"").decode("latin-1"), clock),
        request_id=request_id,
    )


async def _is_service(headers: Pairs, verifier: Verifier) -> bool:
    try:
        return (await authenticate(headers, verifier)).kind == "service"
    except Problem:  # the endpoint says what is wrong with a token, and whether that matters
        return False


async def _is_ours(proof: bytes, verifier: Verifier) -> bool:
    token = proof.decode("latin-1")
    identity = verifier.cached(token)
    try:
        return (identity or await verifier.verify(token)).kind == "service"
    except (TokenError, CallError):
        return False


def _asked_for(
    headers: Pairs, client: tuple[str, int] | None, peers: TrustedPeers | None
) -> tuple[str, int] | None:
    hops = b",".join([value for name, value in headers if name == b"x-forwarded-for"]).decode("latin-1")
    earlier, _, last = hops.rpartition(",")
    address = last.strip()
    if not address:
        return client
    return (address if peers is None else peers.client_ip(address, earlier or None)), 0
