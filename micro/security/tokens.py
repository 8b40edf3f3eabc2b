"""Tokens: JSON Web Tokens signed with Ed25519, checked by the rules of RFC 8725."""

from __future__ import annotations

import base64
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from micro.errors import TokenError
from micro.ids import new_id
from micro.security.issuers import Issuer
from micro.security.keys import ALGORITHM, KeyRing, SigningKey
from micro.security.sources import KeySource, ServiceKeys, StaticKeys
from micro.service import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jwt.types import Options

    from micro.clock import Clock
    from micro.security.algorithms import PublicKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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
_FRESH = 0.01
"""Seconds for which a reading of the wall clock is good enough to say whether a known token has expired."""
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What a token may say of itself (RFC 8725 section 3.11, RFC 9068 section 4); others are for other uses."""


def is_scope(text: str) -> bool:
    """Whether `text` can be one scope of a token: visible ASCII without quotes and backslashes (RFC 6749 section 3.3)."""
    return text.isascii() and text.isprintable() and text != "" and not {*text} & {*' "\\'}


class Grant(Struct, frozen=True, kw_only=True):
    """What a token is to say."""

    issuer: str
    subject: str
    role: str
    ttl: float
    """Seconds from now for which it is valid."""
    kind: str = "user"
    """See `micro.service.Identity.kind`."""
    scopes: frozenset[str] = frozenset()


def issue(key: SigningKey | KeyRing, grant: Grant, *, clock: Clock) -> str:
    """A token that says so."""
    now = int(clock.now().timestamp())
    claims = {
        "iss": grant.issuer,
        "aud": AUDIENCE,
        "sub": grant.subject,
        "role": grant.role,
        "kind": grant.kind,
        "iat": now,
        "exp": now + int(grant.ttl),
        "jti": new_id(clock),
    }
    if grant.scopes:
        claims["scope"] = " ".join(sorted(grant.scopes))
    return key.sign(claims)


class Rules(Struct, frozen=True, kw_only=True):
    """What the tokens of one issuer must look like."""

    audience: tuple[str, ...] = (AUDIENCE,)
    """One of which they must be for."""
    algorithms: tuple[str, ...] = (ALGORITHM,)
    role_claim: str | None = None
    """Where an issuer outside the stack says the role; it can't say `kind`. Nothing: the issuer belongs to the stack."""


_OWN = Rules()


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str
    typ: str = "JWT"
    crit: Any = msgspec.UNSET


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

    A token is accepted when its algorithm is one of its issuer's, its ``kid`` names a key of that kind which its
    ``iss`` publishes, that key made the signature, ``aud`` is (or contains) the issuer's audience, and it is neither
    expired nor from the future, give or take 30 s. `rules` say so for issuers outside the stack; of the others EdDSA
    and `audience` are expected. Only the stack's own key makes tokens of another kind than ``user``. Accepted tokens
    are remembered, `max_cached` at most, the least recently used leaving first, and none beyond its expiry.
    """

    def __init__(
        self,
        sources: Sequence[KeySource],
        *,
        clock: Clock,
        audience: str = AUDIENCE,
        rules: Mapping[str, Rules] | None = None,
        max_cached: int = 10_000,
    ) -> None:
        own = _OWN if audience == AUDIENCE else Rules(audience=(audience,))
        self._rules = {source.issuer: (rules or {}).get(source.issuer, own) for source in sources}
        self._issuers = {
            source.issuer: Issuer(source, clock=clock, algorithms=self._rules[source.issuer].algorithms)
            for source in sources
        }
        self._clock = clock
        self._monotonic = clock.monotonic
        self._now = clock.now()
        self._stale = float("-inf")
        """When the wall clock has to be read again, which takes as long as all else that a known token costs."""
        self._max_cached = max_cached
        self._verified: OrderedDict[str, tuple[Identity, datetime]] = OrderedDict()
        """Whom tokens speak for, and from when on they don't."""

    def cached(self, token: str) -> Identity | None:
        """See `micro.service.Verifier.cached`."""
        known = self._verified.get(token)
        if known is None:
            return None
        identity, end = known
        moment = self._monotonic()
        if moment >= self._stale:
            self._now, self._stale = self._clock.now(), moment + _FRESH
        if self._now >= end:
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
        header, iss = _select(token)
        rules = self._rules.get(iss)
        if rules is None:
            raise TokenError("The token is from an issuer that is not accepted here.")
        if header.alg not in rules.algorithms:
            raise TokenError("The token is signed in a way that is not accepted here.")
        key = await self._issuers[iss].key(header.kid, header.alg)
        identity = self._judge(_proved(token, key, algorithm=header.alg, iss=iss, rules=rules))
        self._verified[token] = identity, _moment(identity.expires + LEEWAY)
        if len(self._verified) > self._max_cached:
            self._verified.popitem(last=False)
        return identity

    def _judge(self, claims: _Claims) -> Identity:
        now = self._clock.now().timestamp()
        if now >= claims.exp + LEEWAY:
            raise TokenError("The token has expired.")
        if now < max(claims.nbf, claims.iat) - LEEWAY:
            raise TokenError("The token is not valid yet.")
        if claims.kind != "user" and claims.iss != STACK:
            raise TokenError("The issuer may not speak for services and API keys.")
        return Identity(
            subject=claims.sub,
            role=claims.role,
            issuer=claims.iss,
            expires=claims.exp,
            scopes=frozenset(claims.scope.split()),
            kind=claims.kind,
        )


def _moment(seconds: float) -> datetime:
    """Seconds since 1970 as a moment to compare the clock with; the last one there is for what lies behind it."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _select(token: str) -> tuple[_Header, str]:
    """Header and issuer that the token claims: used to choose a key, nothing else; nothing is proved yet."""
    parts = token.split(".") if len(token) <= MAX_LENGTH else []
    if len(parts) != 3:
        raise TokenError("The token is malformed.")
    header = _peek(parts[0], _Header)
    if header.crit is not msgspec.UNSET or header.typ.lower() not in _TYPES:
        raise TokenError("The token is of a kind that is not accepted here.")
    return header, _peek(parts[1], _Selector).iss


def _peek(part: str, type: type[S]) -> S:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type)
    except (ValueError, RecursionError) as error:
        raise TokenError("The token is malformed.") from error


def _proved(token: str, key: PublicKey, *, algorithm: str, iss: str, rules: Rules) -> _Claims:
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
            token, key, algorithms=[algorithm], issuer=iss, audience=rules.audience, options=options
        )
        if rules.role_claim is not None:
            claims |= {"role": _role(claims.get(rules.role_claim)), "kind": "user"}
        return msgspec.convert(claims, _Claims)
    except jwt.InvalidAudienceError as error:
        raise TokenError("The token is for another audience.") from error
    except (jwt.InvalidTokenError, msgspec.ValidationError, RecursionError) as error:
        raise TokenError("The token is not valid.") from error


def _role(claim: Any) -> str:
    """One role, by itself or in a list; none where there are several, for nobody here could tell which one counts."""
    if isinstance(claim, list) and len(claim) == 1:
        claim = claim[0]
    return claim if isinstance(claim, str) else ""
