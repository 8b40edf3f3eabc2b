"""The one form of a path that routes are matched on, and the paths that are refused.

A path is forwarded byte for byte as it came (RFC 9110 section 7.7). What decides is its *form*: the same path with
needlessly encoded characters decoded, which RFC 3986 section 6.2.2.2 calls equivalent. `%2F` stays encoded, and a
slash more than usual stays a slash more. Paths that another reader could take for a different one are refused.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from micro.errors import MicroError

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
PLAIN = _UNRESERVED + b"/:@!$&'()*+,;="
"""Bytes that need no second look: a path that begins with a slash and has no others is its own form, where no element of it
begins with a dot."""

_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f-\xff\\#?]")
"""Bytes that no path has on the wire; a backslash is a slash to some readers."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_END = rb"(?:/|%2f|%5c)"
_DOT_SEGMENT = re.compile(
    rb"(?:^|" + _END + rb")(?:\.|%2e){1,2}(?:;|%3b|" + _END + rb"|$)", re.IGNORECASE | re.DOTALL
)
"""`.` and `..`, plain or encoded, between slashes or backslashes, plain or encoded, with or without a parameter."""


class MalformedPath(MicroError):
    """A path that is refused; the text says why, to a person."""


def form_of(path: bytes) -> bytes:
    """The form of `path` that routes are matched on. Raises `MalformedPath`.

    >>> form_of(b"/%7Eann/a%2fb")
    b'/~ann/a%2fb'
    """
    if path[:1] != b"/":
        raise MalformedPath("The request target is not a path.")
    if not path.translate(None, PLAIN) and b"/." not in path:
        return path
    if _FORBIDDEN.search(path):
        raise MalformedPath("The path holds a character that has to be percent-encoded.")
    if _DOT_SEGMENT.search(path):
        raise MalformedPath("The path holds a dot segment.")
    if b"%" not in path:
        return path
    if _BAD_ESCAPE.search(path):
        raise MalformedPath("The path holds a malformed percent-encoding.")
    return _ESCAPE.sub(_decode_unreserved, path)


def decoded(path: bytes) -> bytes:
    """`path` with everything decoded: what an application that sees ASGI's `path` goes by."""
    return unquote_to_bytes(path)


def _decode_unreserved(escape: re.Match[bytes]) -> bytes:
    byte = bytes.fromhex(escape[1].decode("ascii"))
    return byte if byte in _UNRESERVED else escape[0]


def encoded(path: str) -> bytes:
    """A path on the wire, where a server gives it decoded only."""
    return quote(path, safe="/:@!$&'()*+,;=-._~").encode("ascii")
