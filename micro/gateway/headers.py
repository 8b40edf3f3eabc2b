"""Header fields as byte pairs: read in one pass, and what crosses the gateway in either direction.

Names are lower case, as ASGI gives them. Duplicates and their order are kept; fields are never joined on the way
(RFC 9110 section 5.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from micro.web.fields import IDENTITY, PEER, spellings

if TYPE_CHECKING:
    from collections.abc import Sequence

Pair: TypeAlias = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy",  # some servers hand it to programs as HTTP_PROXY (https://httpoxy.org)
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields of one connection (RFC 9110 section 7.6.1), which end at the gateway in both directions."""

FORWARDING = frozenset(
    {
        b"client-ip",
        b"forwarded",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-forwarded",
        b"x-forwarded-by",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
    }
)
"""What proxies tell each other about the client. Believed from trusted peers only, dropped otherwise."""

TIME_LEFT = b"x-request-timeout-ms"
"""Tells an upstream how many milliseconds are left of the route's time, as a whole number."""

REPLACED = frozenset(
    {b"traceparent", b"tracestate", b"via", b"x-correlation-id", b"x-request-id", PEER, TIME_LEFT}
)
"""What the gateway sends on in its own words."""


_DROPPED = frozenset(
    spelling
    for name in HOP_BY_HOP | FORWARDING | IDENTITY | REPLACED | {b"content-length"}
    for spelling in spellings(name)
) - {b"content-length"}

_ADDRESSING = frozenset({b"content-length", b"host"})
"""What no `Connection` field takes out: the message would become a different one."""


_HARMLESS = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
"""What `Connection` says most of the time: it names no field."""


def read(headers: Sequence[Pair]) -> tuple[dict[bytes, bytes], Sequence[Pair]]:
    """Every field by its name, and the list of those that go on, which may be `headers` itself.

    Those that `Connection` names end here: what the gateway adds later is not the client's to take out.
    Values of a repeated field are joined by a comma (RFC 9110 section 5.3), so that a repeated `Host`, `Content-Length`
    or `Authorization` is malformed wherever it is read.
    """
    found = dict(headers)
    if len(found) < len(headers):
        found = {name: _joined(headers, name) for name in found}
    dropped = _DROPPED.intersection(found)
    if not dropped:
        return found, headers
    if len(dropped) == 1 and len(found) == len(headers) and found.get(b"connection", b"close") in _HARMLESS:
        (name,) = dropped  # `Connection: keep-alive`, most of the time
        kept = list(headers)
        kept.remove((name, found[name]))
        return found, kept
    kept = [pair for pair in headers if pair[0] not in dropped]
    connection = found.get(b"connection")
    return found, kept if connection is None else without_named(kept, connection)


def fields_of(lines: bytes) -> list[Pair]:
    """The fields that ready lines, each with its end, are."""
    parts = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in parts]


def _joined(fields: Sequence[Pair], name: bytes) -> bytes:
    return b", ".join([value for key, value in fields if key == name])


def without_named(headers: Sequence[Pair], connection: bytes) -> list[Pair]:
    """`headers` without the fields that a `Connection` field names."""
    named = {option.strip() for option in connection.lower().split(b",")} - _ADDRESSING
    return [pair for pair in headers if pair[0] not in named]


KEPT_BACK = HOP_BY_HOP | {b"date", b"x-correlation-id", b"x-request-id"}
"""Fields of an answer that don't go back."""


def returned(fields: Sequence[Pair]) -> tuple[list[Pair], bytes | None]:
    """The fields of an upstream's answer that go back to the client, and its `Content-Length`, joined where repeated.

    The ids are the gateway's to echo, and `Date` is the server's, which stamps every answer.
    """
    found = dict(fields)
    if not b"".join(found).islower():
        fields = [(name.lower(), value) for name, value in fields]
        found = dict(fields)
    length = found.get(b"content-length")
    if length is not None and len(found) < len(fields):
        length = _joined(fields, b"content-length")
    if KEPT_BACK.isdisjoint(found):
        return list(fields), length
    kept = [pair for pair in fields if pair[0] not in KEPT_BACK]
    if b"connection" in found:
        kept = without_named(kept, _joined(fields, b"connection"))
    return kept, length


def length_of(value: bytes) -> int | None:
    """A `Content-Length` by RFC 9110 section 8.6: ASCII digits and nothing else, or nothing.

    `int` alone would take `+5`, `5_0` and other digits than ASCII's.
    """
    return int(value) if value.isdigit() and len(value) <= 18 else None


def is_event_stream(fields: Sequence[Pair]) -> bool:
    """Whether an answer is one of server-sent events, which go on for as long as both sides want
    (https://html.spec.whatwg.org/multipage/server-sent-events.html): a route's time is for its head alone.
    """
    kinds = [value.partition(b";")[0].strip().lower() for name, value in fields if name == b"content-type"]
    return kinds == [b"text/event-stream"]
