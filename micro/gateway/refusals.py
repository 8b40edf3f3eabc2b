"""Answers in the upstream's place: problem bodies (RFC 9457) with `Proxy-Status` (RFC 9209)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.exchange import Answer
from micro.web.problems import MEDIA_TYPE, Problem, problem_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair

DENIED = "http_request_denied"
"""A policy forbids it (403)."""
BAD_REQUEST = "http_request_error"
"""Every other 4xx of the gateway's own: tells them from the services' own."""
INTERNAL = "proxy_internal_error"
RETRY_AFTER = "1"
"""Seconds after which to come again, in a 503 that does not know better."""

_UNREACHABLE = "The service can't be reached."
_BUSY = "The service is not available at this moment."
_SLOW = "The service did not answer in time."
_BROKEN = "The service gave no answer."
_MALFORMED = "The service gave an answer that is not valid HTTP."

_FAILURES: dict[str, tuple[int, str]] = {
    "dns_timeout": (504, _UNREACHABLE),
    "dns_error": (502, _UNREACHABLE),
    "destination_not_found": (500, _UNREACHABLE),
    "destination_unavailable": (503, _BUSY),
    "destination_ip_prohibited": (502, _UNREACHABLE),
    "destination_ip_unroutable": (502, _UNREACHABLE),
    "connection_refused": (502, _UNREACHABLE),
    "connection_terminated": (502, _BROKEN),
    "connection_timeout": (504, _UNREACHABLE),
    "connection_read_timeout": (504, _SLOW),
    "connection_write_timeout": (504, "The service did not take the request in time."),
    "connection_limit_reached": (503, _BUSY),
    "tls_protocol_error": (502, _UNREACHABLE),
    "tls_certificate_error": (502, _UNREACHABLE),
    "tls_alert_received": (502, _UNREACHABLE),
    "http_response_incomplete": (502, "The service broke its answer off."),
    "http_response_header_section_size": (502, _MALFORMED),
    "http_response_header_size": (502, _MALFORMED),
    "http_response_body_size": (502, "The service's answer is too large."),
    "http_response_trailer_section_size": (502, _MALFORMED),
    "http_response_trailer_size": (502, _MALFORMED),
    "http_response_transfer_coding": (502, _MALFORMED),
    "http_response_content_coding": (502, _MALFORMED),
    "http_response_timeout": (504, _SLOW),
    "http_upgrade_failed": (502, "The service did not switch the protocol."),
    "http_protocol_error": (502, _MALFORMED),
    "proxy_loop_detected": (502, "The request came back to the gateway that had sent it on."),
    "proxy_configuration_error": (500, "The gateway is configured wrongly."),
    INTERNAL: (500, "The gateway failed."),
}
"""Status by error type, as RFC 9209 section 2.3 recommends, and what strangers are told: nothing of the inside.

An application that raises or returns without an answer is a next hop that closed its connection before any part of a
response came: `connection_terminated`, 502. So it looks the same whether the service runs in this process or not.
"""


def _proxy_status(kind: str) -> Pair:
    return (b"proxy-status", b"micro; error=" + kind.encode("ascii"))


_TYPE = (b"content-type", MEDIA_TYPE.encode("ascii"))
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")
_PROXY_STATUS = {kind: _proxy_status(kind) for kind in (DENIED, BAD_REQUEST, *_FAILURES)}
UNREADABLE = _PROXY_STATUS[BAD_REQUEST]
"""What the gateway's port says besides of what can't be read as a request."""


def refuse(
    exchange: Exchange, status: int, *, detail: str, kind: str = BAD_REQUEST, allow: Sequence[str] = ()
) -> Answer:
    """An error answer; `allow` is for a 405."""
    headers = {"Allow": ", ".join(allow)} if status == 405 else None
    return refuse_by(exchange, Problem(status, detail=detail, headers=headers), kind=kind)


def refuse_by(exchange: Exchange, problem: Problem, *, kind: str = BAD_REQUEST) -> Answer:
    """The answer for a problem. Never stored by a cache (RFC 6585 section 4, and sense); a 503 says when to try again."""
    exchange.error = kind
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers.items()
    ]
    if problem.status == 503 and not any(name == b"retry-after" for name, _ in headers):
        headers.append((b"retry-after", RETRY_AFTER.encode("ascii")))
    body = problem_body(problem, exchange.request_id)
    headers += (_TYPE, (b"content-length", b"%d" % len(body)))
    headers += (_PROXY_STATUS.get(kind) or _proxy_status(kind), _NO_STORE)
    return Answer(problem.status, headers, body=body)


def fail(exchange: Exchange, kind: str) -> Answer:
    """The answer for a failure with an RFC 9209 error type; of a type without a rule here, as for the gateway's own."""
    status, detail = _FAILURES.get(kind, _FAILURES[INTERNAL])
    return refuse(exchange, status, detail=detail, kind=kind)


def closing(answer: Answer) -> Answer:
    """`answer`, after which the connection is closed: what follows on it can't be told apart from the request."""
    answer.headers = [*answer.headers, _CLOSE]
    return answer
