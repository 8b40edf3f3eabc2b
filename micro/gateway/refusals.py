"""Answers in the upstream's place: problem bodies (RFC 9457) with `Proxy-Status` (RFC 9209)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.exchange import Answer
from micro.web.problems import Problem, problem_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.exchange import Exchange

DENIED = "http_request_denied"
"""A policy forbids it (403)."""
BAD_REQUEST = "http_request_error"
"""Every other 4xx of the gateway's own: tells them from the services' own."""
INTERNAL = "proxy_internal_error"

_FAILURES: dict[str, tuple[int, str]] = {
    "connection_terminated": (502, "The service gave no answer."),
    "http_protocol_error": (502, "The service gave an answer that is not valid HTTP."),
    "http_response_timeout": (504, "The service did not answer in time."),
    "proxy_loop_detected": (502, "The request came back to the gateway that had sent it on."),
    INTERNAL: (500, "The gateway failed."),
}
"""Status by error type, as RFC 9209 section 2.3 recommends, and what strangers are told: nothing of the inside.

An application that raises or returns without an answer is a next hop that closed its connection before any part of a
response came: `connection_terminated`, 502. So it looks the same whether the service runs in this process or not.
"""

_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


def refuse(
    exchange: Exchange, status: int, *, detail: str, kind: str = BAD_REQUEST, allow: Sequence[str] = ()
) -> Answer:
    """An error answer; `allow` is for a 405."""
    headers = {"Allow": ", ".join(allow)} if status == 405 else None
    return refuse_by(exchange, Problem(status, detail=detail, headers=headers), kind=kind)


def refuse_by(exchange: Exchange, problem: Problem, *, kind: str = BAD_REQUEST) -> Answer:
    """The answer for a problem. Never stored by a cache (RFC 6585 section 4, and sense)."""
    response = problem_response(problem, exchange.request_id)
    exchange.error = kind
    status = (b"proxy-status", b"micro; error=" + kind.encode("ascii"))
    headers = [*response.raw_headers, status, _NO_STORE]
    return Answer(response.status_code, headers, body=bytes(response.body))


def fail(exchange: Exchange, kind: str) -> Answer:
    """The answer for a failure with an RFC 9209 error type; of a type without a rule here, as for the gateway's own."""
    status, detail = _FAILURES.get(kind, _FAILURES[INTERNAL])
    return refuse(exchange, status, detail=detail, kind=kind)


def closing(answer: Answer) -> Answer:
    """`answer`, after which the connection is closed: what follows on it can't be told apart from the request."""
    answer.headers = [*answer.headers, _CLOSE]
    return answer
