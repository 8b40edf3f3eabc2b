"""How large a request's body may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.refusals import refuse

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange


class BodyLimit:
    """413 before a byte of the body is asked for, where `Content-Length` announces too much (RFC 9110 section 15.5.14).

    Whatever comes is counted besides: an adapter breaks off a body that grows beyond `exchange.body_limit`.
    """

    __slots__ = ("_limit",)
    by_head = True

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Let it go on, or refuse it."""
        exchange.body_limit = self._limit
        announced = exchange.found.get(b"content-length")
        if announced is None or int(announced) <= self._limit:
            return None
        return too_large(exchange)

    def __str__(self) -> str:
        return f"size: a body of at most {self._limit} bytes"


def too_large(exchange: Exchange) -> Answer:
    """The refusal of a body beyond the exchange's limit."""
    return refuse(exchange, 413, detail=f"The body may have {exchange.body_limit} bytes at most.")
