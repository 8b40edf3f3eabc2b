"""Tells browsers to be careful with answers (https://owasp.org/www-project-secure-headers/)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair

_ALWAYS: tuple[Pair, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
)
_NAMES = frozenset(name for name, _ in _ALWAYS)
_TRANSPORT: Pair = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Adds what a service does not say itself; its own word stands.

    `Strict-Transport-Security` goes out over TLS only (RFC 6797 section 7.2), be it the gateway's or that of a trusted
    proxy which says so.
    """

    __slots__ = ()
    steady = True

    def on_response(self, exchange: Exchange) -> None:
        """Add what lacks."""
        fields = exchange.fields
        said = dict(fields)
        if _NAMES.isdisjoint(said):
            fields += _ALWAYS
        else:
            fields += [pair for pair in _ALWAYS if pair[0] not in said]
        if _secure(exchange) and _TRANSPORT[0] not in said:
            fields.append(_TRANSPORT)

    def __str__(self) -> str:
        return "security headers: where the answer has none"


def _secure(exchange: Exchange) -> bool:
    if exchange.scheme in {"https", "wss"}:
        return True
    return exchange.trusted and exchange.found.get(b"x-forwarded-proto") == b"https"
