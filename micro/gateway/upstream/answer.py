"""Answers of an instance, read strictly: what two readers could understand differently is no answer.

httptools (llhttp) refuses by itself: line ends other than CRLF, folded lines, forbidden bytes in fields, malformed or
repeated `Content-Length`, `Content-Length` beside `Transfer-Encoding`, malformed chunks. What it lets through is refused
here: other protocols and versions than HTTP/1.0 and 1.1, statuses outside 100 to 599, transfer codings other than one
`chunked`, absurd lengths, and heads, chunk extensions and trailer sections without bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from httptools import HttpParserError, HttpParserUpgrade

from micro.gateway.upstream.parsed import ParsedAnswer
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Collection

    from micro.gateway.headers import Pair

MAX_HEAD = 64 << 10
"""Bytes of a head, of a trailer section, and of chunk extensions in a row."""
MAX_KNOWN = 4 << 10
"""Bytes of a head that is remembered."""

_VERSIONS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_OPENING = len(_VERSIONS[0])
_FAILURE = 500
"""From here on a status says something of the instance, and each is thought about."""
_EMPTY_LINE = b"\r\n\r\n"


class KnownAnswer:
    """A whole answer that came in one piece and left the connection open: its head, its size, and what it said.

    Never change it, or what is in it: the next answer with the same head is told from it.
    """

    __slots__ = ("extra", "fields", "head", "length", "size", "status")

    def __init__(self, head: bytes, size: int, status: int, fields: list[Pair]) -> None:
        self.head = head
        self.size = size
        self.length = size - len(head)
        self.status = status
        self.fields = fields
        self.extra: Any = None
        """Room for what the client's side makes of it."""


class AnswerReader(ParsedAnswer):
    """Reads the answers of one connection, one after the other, piece by piece.

    After each `feed` the attributes say what came: `interim` heads, the final `status` with `fields` and `length`,
    `pieces` of its body, and whether it is `done`. `fields` are as `headers.returned` gives them. Trailer fields are
    dropped (RFC 9110 section 6.5.1). An answer with one of the `retried` statuses is never `known`: each time somebody
    has to think about it.
    """

    __slots__ = ("_retried", "known")

    def __init__(self, retried: Collection[int] = ()) -> None:
        self._retried = retried
        self.known: KnownAnswer | None = None
        """The last answer, where the next one may be recognized by it: never while one is under way."""
        super().__init__()

    def begin(self, *, mute: bool = False) -> None:
        """See `ParsedAnswer.begin`."""
        super().begin(mute=mute)
        if mute:
            self.known = None

    def feed(self, data: bytes) -> None:
        """Read what came. Raises `UpstreamError` for what is no answer; the connection is good for nothing then."""
        if self.status:
            self._parse(data)
            if self._chunked and not self.done:
                self._measure_rest(data)
            return
        counted = self._counted
        self.known = None
        if counted < _OPENING and (counted or not data.startswith(_VERSIONS)):
            self._check_opening(data)
        self._parse(data)
        self._measure_head(data)
        if self.keep and self.length and not (counted or self._interims):
            self._remember(data, self.length)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except HttpParserError as error:
            if not self.done:
                self._refuse(error)
            self._stray = True  # the answer was complete; what follows is none
        if self.done:
            self.keep = self.keep and not self._stray and self._ends_with(data)

    def _remember(self, data: bytes, length: int) -> None:
        """The answer is whole: the next one may have the same head, if it comes within the same second."""
        size = len(data)
        if (
            length < size <= length + MAX_KNOWN
            and self.status < _FAILURE
            and self.status not in self._retried
        ):
            self.known = KnownAnswer(data[:-length], size, self.status, self.fields.copy())

    def end(self) -> None:
        """The instance has closed the connection. Raises `UpstreamError` where it should have sent more."""
        if self.done or (self.status and self.until_end):
            self.done = True
            self.keep = False
        elif self.status or self._counted:
            raise UpstreamError("http_response_incomplete", "the connection was closed inside the answer")
        else:
            raise UpstreamError("connection_terminated", "the connection was closed without an answer")

    def take(self) -> bytes:
        """The body since the last time; not empty where there are `pieces`."""
        pieces = self.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    def _check_opening(self, data: bytes) -> None:
        """The first bytes of an answer: llhttp takes RTSP, HTTP/0.9 and 2.0, and empty lines in front."""
        if self._interims:
            return
        self._opening = opening = (self._opening + data[:_OPENING])[:_OPENING]
        if not any(version.startswith(opening) for version in _VERSIONS):
            raise UpstreamError("http_protocol_error", f"an answer that begins with {opening!r}")

    def _measure_head(self, data: bytes) -> None:
        if not self.status:
            self._counted += len(data)
            size = self._counted
        elif self._counted + len(data) <= MAX_HEAD:
            self._counted = 0
            return
        else:
            size = sum(len(name) + len(value) + 4 for name, value in self.fields)
            self._counted = 0
        if size > MAX_HEAD:
            raise UpstreamError("http_response_header_section_size", f"a head of more than {MAX_HEAD} bytes")

    def _measure_rest(self, data: bytes) -> None:
        self._counted = 0 if self.pieces else self._counted + len(data)
        if self._counted > MAX_HEAD:
            kind = "http_response_trailer_section_size" if self._head else "http_protocol_error"
            raise UpstreamError(kind, f"more than {MAX_HEAD} bytes between chunks or behind them")

    def _ends_with(self, data: bytes) -> bool:
        """Whether `data` ends where the answer does: llhttp swallows empty lines behind it."""
        if self.pieces and not self._chunked:
            return data.endswith(self.pieces[-1])
        tail = data[-6:]
        return tail.endswith(_EMPTY_LINE[-len(tail) :]) and tail != b"\r\n\r\n\r\n"

    def _refuse(self, error: HttpParserError) -> NoReturn:
        cause = error.__context__
        if isinstance(cause, UpstreamError):
            raise cause
        raise UpstreamError("http_protocol_error", f"malformed answer: {error}") from error
