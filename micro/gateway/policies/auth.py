"""Who sends the request: bearer tokens (RFC 6750)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from micro.errors import CallError, TokenError
from micro.gateway.refusals import RETRY_AFTER, refuse_by
from micro.web.auth import bearer_token
from micro.web.problems import Problem, unauthorized

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import Verdict
    from micro.service import Identity, Verifier

_MOST = 256
"""Fields that are remembered."""
_FRESH = 0.1
"""Seconds for which what the verifier has said of a field holds, for requests that came within them: little beside the
leeway that an expiry has."""

logger = logging.getLogger("micro.gateway")


class Authentication:
    """Sets `exchange.identity` from a valid token. 401 for an invalid one and, where one is `required`, for none.

    A token that was verified before costs a look-up, and the verifier is asked whether it still knows it every 0.1 s;
    another one is waited for. Where tokens are optional, other schemes than Bearer are the service's business. The token
    goes on to the service, which verifies it again.
    """

    __slots__ = ("_fields", "_required", "_verifier")

    def __init__(self, verifier: Verifier, *, required: bool) -> None:
        self._verifier = verifier
        self._required = required
        self._fields: dict[bytes, tuple[Identity, float]] = {}
        """Of fields that the verifier knew: whom they speak for, and until when it need not be asked again."""

    def on_request(self, exchange: Exchange) -> Verdict:
        """Let it go on, refuse it, or wait for the keys."""
        value = exchange.found.get(b"authorization")
        if value is None:
            return refuse_by(exchange, unauthorized()) if self._required else None
        known = self._fields.get(value)
        if known is not None and exchange.started < known[1]:
            exchange.identity = known[0]
            return None
        if self._recall(exchange, value):
            return None
        if not self._required and value[:7].lower() != b"bearer ":
            return None
        try:
            bearer = bearer_token(((b"authorization", value),))
        except Problem as problem:
            return refuse_by(exchange, problem)
        assert bearer is not None  # there is a field
        return self._verify(exchange, bearer)

    def _recall(self, exchange: Exchange, value: bytes) -> bool:
        """Whether the verifier knows the token."""
        identity = None
        if value[:7] == b"Bearer ":  # the usual spelling
            identity = self._verifier.cached(value[7:].decode("latin-1"))
        if identity is None:
            return False
        exchange.identity = identity
        if len(self._fields) >= _MOST:
            self._fields.clear()
        self._fields[value] = identity, exchange.started + _FRESH
        return True

    async def _verify(self, exchange: Exchange, token: str) -> Answer | None:
        try:
            exchange.identity = await self._verifier.verify(token)
        except TokenError as error:
            return refuse_by(exchange, unauthorized(str(error)))
        except CallError as error:
            logger.warning("a token can't be checked: %s", error)
            problem = Problem(
                503,
                detail="The keys to check the token are out of reach.",
                headers={"Retry-After": RETRY_AFTER},
            )
            return refuse_by(exchange, problem, kind="destination_unavailable")
        return None

    def __str__(self) -> str:
        return f"auth: a bearer token is {'required' if self._required else 'optional'}"
