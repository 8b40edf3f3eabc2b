"""Refuses requests whose message, method or path two readers could understand differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.exchange import Answer
from micro.gateway.headers import length_of
from micro.gateway.paths import MalformedPath, form_of
from micro.gateway.refusals import closing, refuse
from micro.gateway.routes import METHODS

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange

_ALLOW = tuple(sorted(METHODS))
_VERSIONS = frozenset({"1.0", "1.1", "2", "3"})
_NOT_PROXIED = frozenset({"CONNECT", "TRACE"})
_SPECIAL = _NOT_PROXIED | {"OPTIONS"}


class Framing:
    """What RFC 9112 and RFC 9110 want refused, as far as the server in front lets it be seen; sets `exchange.form`.

    - a version other than 1.0, 1.1, 2 and 3: 505; `CONNECT` and `TRACE`: 405;
    - a `Content-Length` that isn't one number, one beside `Transfer-Encoding`, a coding in HTTP/1.0: 400, and the
      connection is closed; another coding than `chunked`: 501;
    - a target that isn't a path, and a path that `paths` refuses: 400. `OPTIONS *` is answered here, and so is `OPTIONS`
      with `Max-Forwards: 0`; a higher number goes on, less one.
    """

    __slots__ = ()
    by_head = True

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Let it go on, or refuse it."""
        found = exchange.found
        if exchange.version not in _VERSIONS:
            return closing(refuse(exchange, 505, detail="Send the request in HTTP/1.1."))
        if b"content-length" in found or b"transfer-encoding" in found:
            answer = _body(exchange, found)
            if answer is not None:
                return answer
        if exchange.method in _SPECIAL:
            answer = _method(exchange)
            if answer is not None:
                return answer
        try:
            exchange.form = form_of(exchange.path)
        except MalformedPath as error:
            return refuse(exchange, 400, detail=str(error))
        return None

    def __str__(self) -> str:
        return "framing: message, method and path are unambiguous"


def _body(exchange: Exchange, found: dict[bytes, bytes]) -> Answer | None:
    length, coding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if coding is None:
        if length is not None and length_of(length) is None:
            return closing(
                refuse(exchange, 400, detail="Content-Length is malformed or was sent more than once.")
            )
        return None
    if length is not None:
        return closing(
            refuse(exchange, 400, detail="Content-Length and Transfer-Encoding exclude each other.")
        )
    if exchange.version == "1.0":
        return closing(refuse(exchange, 400, detail="HTTP/1.0 has no Transfer-Encoding."))
    if coding.lower() != b"chunked":
        return closing(refuse(exchange, 501, detail="The only transfer coding taken is chunked."))
    return None


def _method(exchange: Exchange) -> Answer | None:
    if exchange.method in _NOT_PROXIED:
        return refuse(exchange, 405, detail=f"{exchange.method} ends at this gateway.", allow=_ALLOW)
    hops = exchange.found.get(b"max-forwards")
    if exchange.path == b"*" or (hops is not None and length_of(hops) == 0):
        return Answer(204, [(b"allow", ", ".join(_ALLOW).encode("ascii"))])
    if hops is not None:
        left = length_of(hops)
        if left is None:
            return refuse(exchange, 400, detail="Max-Forwards is not a number.")
        others = (pair for pair in exchange.headers if pair[0] != b"max-forwards")
        exchange.headers = [*others, (b"max-forwards", b"%d" % (left - 1))]
    return None
