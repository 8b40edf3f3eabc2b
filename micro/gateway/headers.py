"""Header fields as byte pairs: read in one pass, and what crosses the gateway in either direction.

Names are lower case, as ASGI gives them. Duplicates and their order are kept; fields are never joined on the way
(RFC 9110 section 5.3).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

IDENTITY = frozenset(
    {
        b"remote-user",
        b"x-auth-request-email",
        b"x-auth-request-groups",
        b"x-auth-request-user",
        b"x-authenticated-user",
        b"x-authenticated-userid",
        b"x-forwarded-access-token",
        b"x-forwarded-email",
        b"x-forwarded-groups",
        b"x-forwarded-preferred-username",
        b"x-forwarded-user",
        b"x-remote-user",
        b"x-user-id",
        b"x-user-role",
        b"x-user-roles",
        b"x-user-scopes",
        b"x-webauth-user",
    }
)
"""Who the user is, as services let the proxy in front of them tell. Believed from trusted peers only."""

REPLACED = frozenset({b"traceparent", b"tracestate", b"via", b"x-correlation-id", b"x-request-id"})
"""What the gateway sends on in its own words."""


def _spellings(name: bytes) -> Iterable[bytes]:
    """`name` with each hyphen as itself or as an underscore: servers that map one to the other can't tell them apart."""
    parts = name.split(b"-")
    for joints in product((b"-", b"_"), repeat=len(parts) - 1):
        yield b"".join(part + joint for part, joint in zip(parts, (*joints, b""), strict=True))


_DROPPED = frozenset(
    spelling
    for name in HOP_BY_HOP | FORWARDING | IDENTITY | REPLACED | {b"content-length"}
    for spelling in _spellings(name)
) - {b"content-length"}

_ADDRESSING = frozenset({b"content-length", b"host"})
"""What no `Connection` field takes out: the message would become a different one."""


def read(headers: Sequence[Pair]) -> tuple[dict[bytes, bytes], Sequence[Pair]]:
    """Every field by its name, and the list of those that go on, which may be `headers` itself.

    Values of a repeated field are joined by a comma (RFC 9110 section 5.3), so that a repeated `Host`, `Content-Length`
    or `Authorization` is malformed wherever it is read.
    """
    found = dict(headers)
    if len(found) < len(headers):
        found = {name: _joined(headers, name) for name in found}
    dropped = _DROPPED.intersection(found)
    if not dropped:
        return found, headers
    if len(dropped) == 1 and len(found) == len(headers):  # `Connection: keep-alive`, most of the time
        (name,) = dropped
        kept = list(headers)
        kept.remove((name, found[name]))
        return found, kept
    return found, [pair for pair in headers if pair[0] not in dropped]


def _joined(fields: Sequence[Pair], name: bytes) -> bytes:
    return b", ".join([value for key, value in fields if key == name])


def without_named(headers: Sequence[Pair], connection: bytes) -> list[Pair]:
    """`headers` without the fields that a `Connection` field names."""
    named = {option.strip() for option in connection.lower().split(b",")} - _ADDRESSING
    return [pair for pair in headers if pair[0] not in named]


_KEPT_BACK = HOP_BY_HOP | {b"date", b"x-correlation-id", b"x-request-id"}


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
    if _KEPT_BACK.isdisjoint(found):
        return list(fields), length
    kept = [pair for pair in fields if pair[0] not in _KEPT_BACK]
    if b"connection" in found:
        kept = without_named(kept, _joined(fields, b"connection"))
    return kept, length


def length_of(value: bytes) -> int | None:
    """A `Content-Length` by RFC 9110 section 8.6: ASCII digits and nothing else, or nothing.

    `int` alone would take `+5`, `5_0` and other digits than ASCII's.
    """
    return int(value) if value.isdigit() and len(value) <= 18 else None
