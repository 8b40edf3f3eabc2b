"""Cross-origin requests of browsers (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.exchange import Answer
from micro.gateway.refusals import DENIED, refuse

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.spec.gateway import Cors

_VERDICT = frozenset(
    {b"access-control-allow-credentials", b"access-control-allow-origin", b"access-control-expose-headers"}
)
"""What only the gateway says; a service's own word would come twice, which browsers refuse."""


class CrossOrigin:
    """Answers preflights before anything could refuse them, and lets allowed origins read every answer, errors too.

    A preflight of another origin gets 403. Raises `ConfigurationError` for `*` with credentials, which browsers refuse
    for good reason.
    """

    __slots__ = ("_any", "_cors", "_headers", "_methods", "_origins", "_seconds", "_shared")
    by_head = True

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._any = "*" in cors.origins
        if self._any and cors.credentials:
            raise ConfigurationError("'*' excludes credentials; name the origins", key="gateway.cors.origins")
        self._origins = frozenset(origin.rstrip("/").lower().encode("ascii") for origin in cors.origins)
        self._methods = (b"access-control-allow-methods", ", ".join(cors.methods).encode("ascii"))
        self._headers = ", ".join(cors.headers).encode("ascii")
        self._seconds = (b"access-control-max-age", b"%d" % cors.max_age)
        self._shared = [(b"access-control-expose-headers", ", ".join(cors.expose).encode("ascii"))]
        if cors.credentials:
            self._shared.append((b"access-control-allow-credentials", b"true"))

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Answer a preflight; let everything else go on."""
        if exchange.method != "OPTIONS":
            return None
        found = exchange.found
        origin = found.get(b"origin")
        if origin is None or b"access-control-request-method" not in found:
            return None
        if not self._any and origin not in self._origins:
            return refuse(exchange, 403, detail="gateway.cors does not allow this origin.", kind=DENIED)
        allowed = self._headers
        if allowed == b"*":  # a literal one would not cover Authorization
            allowed = found.get(b"access-control-request-headers", b"*")
        return Answer(204, [self._methods, (b"access-control-allow-headers", allowed), self._seconds])

    def on_response(self, exchange: Exchange) -> None:
        """Say who may read the answer."""
        fields = [pair for pair in exchange.fields if pair[0] not in _VERDICT]
        exchange.fields = [*fields, *self.verdict(exchange.found.get(b"origin"))]

    def verdict(self, origin: bytes | None) -> list[Pair]:
        """Who may read an answer to a page of that origin."""
        if self._any:
            return [(b"access-control-allow-origin", b"*"), *self._shared]
        vary = (b"vary", b"Origin")
        if origin is None or origin not in self._origins:
            return [vary]
        return [vary, (b"access-control-allow-origin", origin), *self._shared]

    def __str__(self) -> str:
        return f"cors: {', '.join(self._cors.origins)}"
