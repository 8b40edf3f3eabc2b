"""Tokens: JSON Web Tokens signed with Ed25519, checked by the rules of RFC 8725."""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from micro.errors import TokenError
from micro.ids import new_id
from micro.security.issuers import Issuer
from micro.security.keys import ALGORITHM, KeyRing, SigningKey
from micro.security.sources import KeySource, ServiceKeys, StaticKeys
from micro.service import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from jwt.types import Options

    from micro.clock import Clock

S = TypeVar("S")

__all__ = [
    "Grant",
    "KeyRing",
    "KeySource",
    "ServiceKeys",
    "SigningKey",
    "StaticKeys",
    "TokenVerifier",
    "issue",
]

AUDIENCE = "micro"
STACK = "micro:stack"
LEEWAY = 30.0
MAX_LENGTH = 8192


class Grant(Struct, frozen=True, kw_only=True):
    """What a token is to say."""

    issuer: str
    subject: str
    role: str
    ttl: float
    """Seconds from now for which it is valid."""
    kind: str = "user"
    """See `micro.service.Identity.kind`."""


def issue(key: SigningKey | KeyRing, grant: Grant, *, clock: Clock) -> str:
    """A token that says so."""
    now = int(clock.now().timestamp())
    return key.sign(
        {
            "iss": grant.issuer,
            "aud": AUDIENCE,
            "sub": grant.subject,
            "role": grant.role,
            "kind": grant.kind,
            "iat": now,
            "exp": now + int(grant.ttl),
            "jti": new_id(clock),
        }
    )


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str
    crit: msgspec.Raw | None = None


class _Selector(msgspec.Struct, frozen=True):
    iss: str


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    exp: float
    role: str = ""
    kind: str = "user"
    scope: str = ""
    nbf: float = 0.0
    iat: float = 0.0


class TokenVerifier:
    """Checks tokens against the keys of `sources`; a `micro.service.Verifier`.

    A token is accepted when its algorithm is EdDSA, its ``kid`` names a key that its ``iss`` publishes, that key made
    the signature, ``aud`` is (or contains) `audience`, and it is neither expired nor from the future, give or take 30 s.
    Only the stack's own key makes service tokens. Accepted tokens are remembered, `max_cached` at most, the least
    recently used leaving first, and none beyond its expiry.
    """

    def __init__(
        self,
        sources: Sequence[KeySource],
        *,
        clock: Clock,
        audience: str = AUDIENCE,
        max_cached: int = 10_000,
    ) -> None:
        self._issuers = {source.issuer: Issuer(source, clock=clock) for source in sources}
        self._clock = clock
        self._audience = audience
        self._max_cached = max_cached
        self._verified: OrderedDict[str, Identity] = OrderedDict()

    def cached(self, token: str) -> Identity | None:
        """See `micro.service.Verifier.cached`."""
        identity = self._verified.get(token)
        if identity is None:
            return None
        if self._clock.now().timestamp() >= identity.expires + LEEWAY:
            del self._verified[token]
            return None
        self._verified.move_to_end(token)
        return identity

    async def verify(self, token: str) -> Identity:
        """The identity that the token speaks for.

        Raises `TokenError` for a token that must not be accepted, `CallError` when its issuer's keys can't be had.
        """
        known = self.cached(token)
        if known is not None:
            return known
        kid, iss = _select(token)
        issuer = self._issuers.get(iss)
        if issuer is None:
            raise TokenError("The token is from an issuer that is not accepted here.")
        claims = _proved(token, await issuer.key(kid), iss, self._audience)
        identity = self._judge(claims)
        self._verified[token] = identity
        if len(self._verified) > self._max_cached:
            self._verified.popitem(last=False)
        return identity

    def _judge(self, claims: _Claims) -> Identity:
        now = self._clock.now().timestamp()
        if now >= claims.exp + LEEWAY:
            raise TokenError("The token has expired.")
        if now < max(claims.nbf, claims.iat) - LEEWAY:
            raise TokenError("The token is not valid yet.")
        if claims.kind == "service" and claims.iss != STACK:
            raise TokenError("The issuer may not speak for services.")
        return Identity(
            subject=claims.sub,
            role=claims.role,
            issuer=claims.iss,
            expires=claims.exp,
            scopes=frozenset(claims.scope.split()),
            kind=claims.kind,
        )


def _select(token: str) -> tuple[str, str]:
    """The key id and issuer that the token claims: used to choose a key, nothing else; nothing is proved yet."""
    parts = token.split(".") if len(token) <= MAX_LENGTH else []
    if len(parts) != 3:
        raise TokenError("The token is malformed.")
    header = _peek(parts[0], _Header)
    if header.alg != ALGORITHM or header.crit is not None:
        raise TokenError("The token is signed in a way that is not accepted here.")
    return header.kid, _peek(parts[1], _Selector).iss


def _peek(part: str, type: type[S]) -> S:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type)
    except (ValueError, RecursionError) as error:
        raise TokenError("The token is malformed.") from error


def _proved(token: str, key: Ed25519PublicKey, issuer: str, audience: str) -> _Claims:
    """The claims, once signature, issuer and audience are right. Times are judged by our own clock, not the library's."""
    import jwt  # noqa: PLC0415 - loaded when first used

    options: Options = {
        "require": ["exp", "iat", "sub", "iss", "aud"],
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
    }
    try:
        claims = jwt.decode(
            token, key, algorithms=[ALGORITHM], issuer=issuer, audience=audience, options=options
        )
        return msgspec.convert(claims, _Claims)
    except jwt.InvalidAudienceError as error:
        raise TokenError("The token is for another audience.") from error
    except (jwt.InvalidTokenError, msgspec.ValidationError, RecursionError) as error:
        raise TokenError("The token is not valid.") from error
