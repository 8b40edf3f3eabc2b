"""Who sends the request: API keys, which scripts and partners hold instead of tokens."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from math import inf
from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.refusals import refuse_by
from micro.security.tokens import STACK
from micro.service import Identity
from micro.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.clock import Clock
    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.pipeline import Verdict
    from micro.gateway.policies.auth import Authentication
    from micro.security.stack_key import Signer
    from micro.spec.gateway import ApiKey

FIELD = b"x-api-key"
FIELDS = frozenset({b"x-api-key", b"x-api_key", b"x_api-key", b"x_api_key"})
"""The field in every spelling that some server takes for it."""
REUSED = 30.0
"""Seconds for which a key's token is used again, so that services find it among the verified ones."""
TTL = 120.0
"""Seconds that such a token is valid: it outlives its last use by far more than a request takes to arrive."""

_GATEWAYS_OWN = FIELDS | {b"authorization"}


class _Holder:
    """Who holds a key, and the token that speaks for him."""

    __slots__ = ("digest", "field", "identity", "until")

    def __init__(self, name: str, key: ApiKey) -> None:
        self.digest = bytes.fromhex(key.hash.removeprefix("sha256:"))
        self.identity = Identity(
            subject=name, role=key.role, issuer=STACK, expires=inf, scopes=key.scopes, kind="api_key"
        )
        self.field: Pair = (b"authorization", b"")
        self.until = -inf


class ApiKeys:
    """The keys of the gateway. Knows their SHA-256 digests only, and finds one in one look-up however many there are.

    A key is 128 bits of chance at least, so its plain digest can't be inverted, nor can the time of a look-up by digest
    be of use to somebody who guesses. Raises `ConfigurationError` for one key under two names.
    """

    __slots__ = ("_clock", "_holders", "_signer")

    def __init__(self, keys: Mapping[str, ApiKey], signer: Signer, *, clock: Clock) -> None:
        holders = [_Holder(name, key) for name, key in keys.items()]
        self._holders = {holder.digest: holder for holder in holders}
        if len(self._holders) < len(holders):
            raise ConfigurationError("two names have the same hash", key="gateway.api_keys")
        self._signer = signer
        self._clock = clock

    def admit(self, exchange: Exchange, key: bytes) -> bool:
        """Whether `key` is one of them. If so, the exchange has its holder's identity from here on.

        The service gets, in place of the key, a token of the stack's own for the holder, which it verifies as any other.
        """
        digest = sha256(key).digest()
        holder = self._holders.get(digest)
        if holder is None or not compare_digest(holder.digest, digest):
            return False
        now = self._clock.monotonic()
        if now >= holder.until:
            identity = holder.identity
            token = self._signer.token(
                identity.subject, role=identity.role, ttl=TTL, scopes=identity.scopes, kind=identity.kind
            )
            holder.field = (b"authorization", b"Bearer " + token.encode("ascii"))
            holder.until = now + REUSED
        exchange.identity = holder.identity
        exchange.headers = [pair for pair in exchange.headers if pair[0] not in _GATEWAYS_OWN]
        exchange.headers.append(holder.field)
        return True


class KeyAuthentication:
    """Sets `exchange.identity` from an API key in `X-API-Key`; else does what `tokens` says, where the route takes both.

    401 for a key that isn't known and, where credentials are `required`, for none. 400 for a key and an `Authorization`
    at once: two credentials may speak for two senders (RFC 6750 section 3.1).
    """

    __slots__ = ("_challenge", "_keys", "_required", "_tokens")

    def __init__(self, keys: ApiKeys, *, required: bool, tokens: Authentication | None = None) -> None:
        self._keys = keys
        self._required = required
        self._tokens = tokens
        self._challenge = {"WWW-Authenticate": "ApiKey" if tokens is None else "Bearer, ApiKey"}

    def on_request(self, exchange: Exchange) -> Verdict:
        """Let it go on, refuse it, or wait for the keys that check a token."""
        found = exchange.found
        if FIELDS.isdisjoint(found):
            if self._tokens is not None and b"authorization" in found:
                return self._tokens.on_request(exchange)
            return self._refuse(exchange, "An API key is required.") if self._required else None
        if b"authorization" in found:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_request"'}
            return refuse_by(exchange, Problem(400, detail="Send one credential only.", headers=headers))
        if self._keys.admit(exchange, found.get(FIELD, b"")):
            return None
        return self._refuse(exchange, "The API key is not known.")

    def _refuse(self, exchange: Exchange, detail: str) -> Answer:
        return refuse_by(exchange, Problem(401, detail=detail, headers=self._challenge))

    def __str__(self) -> str:
        credential = "an API key" if self._tokens is None else "a bearer token or an API key"
        return f"auth: {credential} is {'required' if self._required else 'optional'}"


class WithoutApiKey:
    """Keeps the gateway's keys from services: a key sent to a route that takes none ends here as well."""

    __slots__ = ()

    def on_request(self, exchange: Exchange) -> None:
        """Take the field out."""
        if not FIELDS.isdisjoint(exchange.found):
            exchange.headers = [pair for pair in exchange.headers if pair[0] not in FIELDS]

    def __str__(self) -> str:
        return "api keys: not taken here, and not sent on"
