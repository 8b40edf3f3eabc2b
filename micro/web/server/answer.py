"""Heads of answers, as bytes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED_FIELD = (b"transfer-encoding", b"chunked")
CLOSE_FIELD = (b"connection", b"close")
LAST_CHUNK = b"0\r\n\r\n"
WITHOUT_BODY = frozenset({204, 304})

_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    422: "Unprocessable Content",
}
_LINES = {status: f"HTTP/1.1 {status} {phrase}".encode("ascii") for status, phrase in _PHRASES.items()}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_KNOWN = 1024
_known: set[bytes] = set()
"""Names found to be valid before; bounded."""

_pair = b": ".join


class InvalidField(ValueError):
    """A header field that can't be sent: it would be read as something else."""


def render(status: int, fields: Iterable[tuple[bytes, bytes]], tail: bytes) -> bytes:
    """A head. `tail` are lines of the server's own with their ends, and the empty line.

    Fields that come from anybody who could put a line break into them have to pass `check` before.
    """
    return b"\r\n".join([_LINES.get(status) or b"HTTP/1.1 %d " % status, *map(_pair, fields), tail])


def check(fields: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises `InvalidField` for a line break or NUL in a field (RFC 9110 section 5.5)."""
    block = b"\0".join(map(_pair, fields))
    if b"\n" in block or b"\r" in block or block.count(b"\0") > max(len(fields) - 1, 0):
        raise InvalidField("an answer has a line break or NUL in its header")


def check_name(name: bytes) -> None:
    """Raises `InvalidField` for what is no name of a field."""
    if name not in _known:
        if _NAME.fullmatch(name) is None:
            raise InvalidField(f"{name!r} is no name of a header field")
        if len(_known) < _MAX_KNOWN:
            _known.add(name)


def chunk(data: bytes) -> bytes:
    """`data`, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
