"""One answer as httptools (llhttp) reads it, and what that lets through refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpResponseParser

from micro.gateway.headers import KEPT_BACK, length_of, without_named
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.headers import Pair

MAX_INTERIM = 16
"""Interim answers (1xx) before the final one."""

_NUMBERS = frozenset({"1.0", "1.1"})
_HARMLESS = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
_WITHOUT_BODY = frozenset({204, 304})
_MOST_NAMES = 512

_plain: dict[bytes, bytes] = {}
"""Spellings of fields that pass as they are, in lower case. Bounded."""


class ParsedAnswer:
    """What the parser has found so far. Its methods are the parser's to call; they raise `UpstreamError`."""

    __slots__ = (
        "_chunked",
        "_coding",
        "_connection",
        "_counted",
        "_declared",
        "_head",
        "_interims",
        "_opening",
        "_parser",
        "_stray",
        "done",
        "fields",
        "interim",
        "keep",
        "length",
        "mute",
        "pieces",
        "protocol",
        "rest",
        "status",
        "until_end",
    )

    # Known once the final head is complete.
    length: int | None
    """The body's, where it is known in advance."""
    until_end: bool
    """Whether the body ends with the connection."""
    _chunked: bool

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self.mute = False
        """Whether the answer is one to HEAD."""
        self.pieces: list[bytes] = []
        """Of the body, since they were taken."""
        self.interim: list[tuple[int, list[Pair]]] = []
        """Interim answers since they were taken."""
        self.rest = b""
        """What came behind the head of a 101: it is no HTTP any more."""
        self.begin()

    def begin(self, *, mute: bool = False) -> None:
        """An answer is expected from now on; `mute`: one to HEAD."""
        if self.mute:  # the parser still waits for the body that HEAD's answer announced
            self._parser = HttpResponseParser(self)
        self.status = 0
        """Of the final answer, once its head is complete."""
        self.done = False
        self.keep = False
        """Whether another request may go over the connection, once the answer is done."""
        self.fields: list[Pair] = []
        """The final answer's; the caller's to change."""
        self._head: list[Pair] = self.fields
        self.mute = mute
        self.protocol = b""
        """What a 101 switches to."""
        self._stray = False
        self._interims = 0
        self._counted = 0
        """Bytes of a head that isn't complete, or since the last piece of a chunked body."""
        self._opening = b""
        self._declared: bytes | None = None
        self._connection: bytes | None = None
        self._coding: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, of a head or of a trailer section."""
        plain = _plain.get(name)
        if plain is not None:
            self._head.append((plain, value))
        else:
            self._special(name, value)

    def on_headers_complete(self) -> None:
        """A head is complete."""
        status = self._parser.get_status_code()
        if self.done or not 100 <= status <= 599:
            raise UpstreamError("http_protocol_error", f"{status} is no status, or nobody asked for it")
        if self._connection is not None and self._connection not in _HARMLESS:
            self._head[:] = without_named(self._head, self._connection)
        if self._interims and self._parser.get_http_version() not in _NUMBERS:
            raise UpstreamError("http_protocol_error", "a version other than HTTP/1.0 and 1.1")
        if status < 200 and status != 101:
            self._pass_on(status)
            return
        self._frame(status)
        self.status = status

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self.mute:
            self._stray = True
        else:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        """The end of an answer, interim ones included."""
        if self.status:
            self.keep = self._parser.should_keep_alive()
            self.done = True
            self._head = []  # whatever follows is not the answer's
        else:
            self._declared = self._connection = self._coding = None

    def _special(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-length":
            self._declared = value.rstrip(b" \t")
            self._head.append((lower, self._declared))
        elif lower == b"connection":
            self._connection = value if self._connection is None else self._connection + b"," + value
        elif lower == b"transfer-encoding":
            self._coding = value if self._coding is None else self._coding + b"," + value
        elif lower == b"upgrade":
            self.protocol = value
        elif lower not in KEPT_BACK:
            if len(_plain) < _MOST_NAMES and len(name) <= 64:
                _plain[name] = lower
            self._head.append((lower, value))

    def _pass_on(self, status: int) -> None:
        self._interims += 1
        if self._interims > MAX_INTERIM:
            raise UpstreamError("http_protocol_error", "interim answers without end")
        self.interim.append((status, _without_length(self._head)))
        self._head = self.fields = []

    def _frame(self, status: int) -> None:
        """Where the body ends (RFC 9112 section 6.3)."""
        self.until_end = self._chunked = False
        self.length = None
        if self._declared is not None:
            self.length = length_of(self._declared)
            if self.length is None:
                raise UpstreamError("http_protocol_error", f"a Content-Length of {self._declared!r}")
        elif self._coding is not None:
            self._check_coding(self._coding)
        elif status != 101:
            self.until_end = True
        if self.mute or status in _WITHOUT_BODY:
            self._without_body(status)

    def _check_coding(self, coding: bytes) -> None:
        if coding.strip(b" \t").lower() != b"chunked":
            raise UpstreamError("http_response_transfer_coding", f"the transfer coding {coding!r}")
        if self._parser.get_http_version() != "1.1":
            raise UpstreamError("http_protocol_error", "HTTP/1.0 has no transfer codings")
        self._chunked = True
        self._head = []  # for the trailer section

    def _without_body(self, status: int) -> None:
        self.length = 0
        if status == 204:
            self.fields = _without_length(self.fields)
        if self.mute:  # the parser doesn't know, and would wait for the body
            self.keep = self._parser.should_keep_alive()
            self.done = True
            self._head = []
        self.until_end = self._chunked = False


def _without_length(fields: list[Pair]) -> list[Pair]:
    return [pair for pair in fields if pair[0] != b"content-length"]
