"""Bodies in chunks (RFC 9112 section 7.1), decoded without a byte of tolerance."""

from __future__ import annotations

import re

from micro.web.problems import Problem

MAX_SIZE_LINE = 512
"""Bytes of one chunk's size with its extensions."""
MAX_EXTENSIONS = 16 << 10
"""Bytes of extensions in one body: they carry nothing, and cost time."""
MAX_TRAILERS = 8 << 10

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")

_LINE, _DATA, _MARK, _TRAILERS = range(4)

_MALFORMED = Problem(400, detail="The body's chunks are malformed.")
_TOO_LARGE = Problem(431, detail="The trailer section is too large.")


class Chunks:
    """One body. Extensions and trailers are checked and dropped (RFC 9112 section 7.1.2).

    Trailers are dropped because a field that came after the body must not count as one that stood before it: it could be
    `Authorization`.
    """

    __slots__ = ("_extensions", "_kept", "_left", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        """Whether the body has come to its end."""
        self.rest = b""
        """What came behind it, then."""
        self._state = _LINE
        self._kept = b""
        """The beginning of a line."""
        self._left = 0
        self._extensions = 0
        self._trailers = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`, none of them empty. Raises `Problem` 400 or 431."""
        if self._kept:
            data, self._kept = self._kept + data, b""
        pieces = []
        at = 0
        while at < len(data) and not self.done:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _MARK
                continue
            end = data.find(b"\r\n", at, at + MAX_TRAILERS + 2)
            if end < 0:
                self._keep(data[at:])
                break
            self._line(data[at:end])
            at = end + 2
        if self.done:
            self.rest = data[at:]
        return pieces

    def _keep(self, part: bytes) -> None:
        """A line that hasn't ended."""
        state = self._state
        if state == _TRAILERS and self._trailers + len(part) > MAX_TRAILERS:
            raise _TOO_LARGE
        if b"\n" in part or b"\r" in part[:-1]:
            raise _MALFORMED
        if (state == _MARK and part != b"\r") or (state == _LINE and len(part) > MAX_SIZE_LINE + 1):
            raise _MALFORMED
        self._kept = part

    def _line(self, line: bytes) -> None:
        """A whole line, without its end."""
        if self._state == _MARK:
            if line:
                raise _MALFORMED
            self._state = _LINE
        elif self._state == _LINE:
            self._size(line)
        elif not line:
            self.done = True
        else:
            self._trailers += len(line) + 2
            if self._trailers > MAX_TRAILERS:
                raise _TOO_LARGE
            if _TRAILER.fullmatch(line) is None:
                raise _MALFORMED

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None or len(line) > MAX_SIZE_LINE:
            raise _MALFORMED
        self._extensions += len(match[2])
        if self._extensions > MAX_EXTENSIONS:
            raise _MALFORMED
        self._left = int(match[1], 16)
        self._state = _DATA if self._left else _TRAILERS
