"""Request heads: parsed by httptools, and everything refused that two readers could understand differently.

What llhttp lets through and RFC 9112 doesn't is refused here: other white space in the request line than one space, lines
before it that aren't empty, HTTP/0.9, RTSP and ICE, a fragment in the target, any transfer coding but `chunked`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httptools

from micro.web.problems import Problem
from micro.web.server.limits import MAX_KNOWN, MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_BODY, CHUNKED = 0, -1
"""What `Fields.length` is where it is no number of bytes to come."""

_PLAIN = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1")
"""A request line with nothing special in it."""
_PROTOCOL = re.compile(rb"[A-Z]+/\d+\.\d+")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ABSOLUTE = re.compile(rb"(?i:(http|https)://)([^/?#@]+)([/?].*)?")
_METHODS = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_ALLOW = {"Allow": ", ".join(sorted(_METHODS.values()))}
_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_KEEP = frozenset({b"keep-alive", b"Keep-Alive"})
_MAX_DIGITS = 18
_MOST_GLIMPSED = 64 << 10
_NOT_HTTP = "Invalid method for HTTP"
"""What the parser says of a method that RTSP or ICE has."""


class Fields:
    """What the header fields of a request say. Shared by requests that have the same ones, so never change it, or what is
    in it.
    """

    __slots__ = ("block", "expects", "extra", "found", "headers", "keep_alive", "length", "upgrade")

    def __init__(self, block: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.block = block
        """The lines as they came, behind the request line; empty where they must not be recognized."""
        self.headers = headers
        """The names in lower case. An absolute target's host stands in place of what `Host` said."""
        found = dict(headers)
        self.found = found if len(found) == len(headers) else joined(headers)
        """The same by name; the values of a repeated field are joined by a comma (RFC 9110 section 5.3)."""
        self.keep_alive = True
        """Whether the client lets the connection be used again."""
        self.length = NO_BODY
        """Bytes of body to come, `NO_BODY` or `CHUNKED`."""
        self.expects = False
        """Whether the client waits for `100 Continue` before it sends the body."""
        self.upgrade = b""
        """The protocol that it wants to change to, in lower case; empty for none."""
        self.extra: Any = None
        """Room for what else somebody finds out from them."""


class Head:
    """A request's head. Connections keep the last one, so never change it, or what is in it."""

    __slots__ = ("fields", "method", "path", "query", "version", "way", "whole")

    def __init__(self, whole: bytes, line: tuple[str, bytes, bytes, str], fields: Fields) -> None:
        self.method, self.path, self.query, self.version = line
        """`path` is still encoded, without the query; `*` for `OPTIONS *`. `version` is `1.1` or `1.0`."""
        self.fields = fields
        self.whole = whole if fields.block and not fields.length else b""
        """The request as it came, where the same bytes are the same request again: empty where more belongs to it."""
        self.way: Any = None
        """Room for what somebody finds out from all of it."""


class HeadReader:
    """Reads one head after the other, of any number of connections."""

    __slots__ = ("_clean", "_parser", "_read")

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._read: list[tuple[bytes, bytes]] = []
        self._clean = False
        """Whether the parser expects another request, and nothing that belongs to the last one."""

    def read(self, head: bytes, scheme: str) -> Head:
        """Read a head, which ends in an empty line and has no other. `scheme` is the connection's.

        Raises `Problem`: 400, 405, 414, 417, 501 or 505. What follows the head is not to be trusted then.
        """
        end = head.find(b"\r\n")
        name, target, version = _line(head[:end])
        self._parse(head)
        method = _METHODS.get(name) or _other_method(name)
        fields = Fields(head[end:] if version == "1.1" and len(head) <= MAX_KNOWN else b"", self._read)
        if target.startswith(b"/") and b"#" not in target:
            path, _, query = target.partition(b"?")
        else:
            path, query, fields = _located(target, method, scheme, fields)
        if b"content-length" in fields.found or b"transfer-encoding" in fields.found:
            fields.length = _length(fields.found, version)
        if b"expect" in fields.found:
            _expect(fields, version)
        _connect(fields, version)
        return Head(head, (method, path, query, version), fields)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._read.append((name.lower(), value))

    def on_message_complete(self) -> None:
        """Called by the parser, unless it waits for a body."""
        self._clean = self._parser.should_keep_alive()

    def _parse(self, head: bytes) -> None:
        """Whatever the head says, and whoever refuses it later, the next one meets a parser that knows nothing of it."""
        self._read = []
        self._clean = False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._clean = False
        except httptools.HttpParserError as error:
            raise _malformed(error) from None
        finally:
            if not self._clean:
                self._parser = httptools.HttpRequestParser(self)
        if b" \r\n" in head or b"\t\r\n" in head:  # white space after a value is not part of it
            self._read = [(name, value.rstrip(b" \t")) for name, value in self._read]


def again(data: bytes, last: Head) -> Head | None:
    """`data`, which is a head and nothing else, where it has the fields of the `last` one: they need no reading then.

    Most clients send the same fields again and again on a connection.
    """
    fields = last.fields
    block = fields.block
    end = data.find(b"\r\n")
    if len(data) - end != len(block) or end > MAX_LINE or not data.endswith(block):
        return None
    match = _PLAIN.fullmatch(data, 0, end)
    if match is None:
        return None
    name, path, query = match.groups(b"")
    return Head(data, (_METHODS[name], path, query, "1.1"), fields)


def _located(target: bytes, method: str, scheme: str, fields: Fields) -> tuple[bytes, bytes, Fields]:
    """Path, query and fields for the forms of a target other than a path (RFC 9112 section 3.2)."""
    if target == b"*" and method == "OPTIONS":
        return target, b"", fields
    match = _ABSOLUTE.fullmatch(target)
    if match is None or b"#" in target:
        raise Problem(400, detail="The request target must be a path, or an http: URL without a fragment.")
    if match[1].lower() != scheme.encode("ascii"):
        raise Problem(400, detail="The request target has another scheme than the connection.")
    if b"host" not in fields.found:
        raise Problem(400, detail="The Host field is missing.")
    path, _, query = (match[3] or b"").partition(b"?")
    path = path or (b"*" if method == "OPTIONS" and not match[3] else b"/")
    others = (pair for pair in fields.headers if pair[0] != b"host")
    return path, query, Fields(b"", [(b"host", match[2]), *others])


def _expect(fields: Fields, version: str) -> None:
    value = fields.found[b"expect"]
    if version == "1.0" or fields.length == NO_BODY:  # no 100 is to be sent; RFC 9110 section 10.1.1
        fields.headers = [pair for pair in fields.headers if pair[0] != b"expect"]
        del fields.found[b"expect"]
    elif value.lower() == b"100-continue":
        fields.expects = True
    else:
        raise Problem(417, detail="The only expectation met is 100-continue.")


def _connect(fields: Fields, version: str) -> None:
    connection = fields.found.get(b"connection")
    fields.keep_alive = version == "1.1"
    if connection is not None and connection not in _KEEP:
        options = {option.strip() for option in connection.lower().split(b",")}
        fields.keep_alive = fields.keep_alive and b"close" not in options
        if b"upgrade" in options and version == "1.1":
            fields.upgrade = fields.found.get(b"upgrade", b"").lower()


def joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields by name, the values of a repeated one joined by a comma."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def glimpsed(data: bytes) -> list[tuple[bytes, bytes]]:
    """What looks like fields in a head that can't be read: good enough for a refusal, never to go by."""
    lines = [line.partition(b":") for line in data[:_MOST_GLIMPSED].split(b"\r\n")[1:-1]]
    return [(name.lower(), value.strip(b" \t")) for name, colon, value in lines if colon]


def check_beginning(data: bytes, limit: int) -> None:
    """Look at a head that isn't whole yet. Raises `Problem` for what can't become a request, `limit` bytes at most."""
    if not data:
        return
    line = data.find(b"\r\n")
    if line < 0:
        method, _, _ = data.partition(b" ")
        if _TOKEN.fullmatch(method) is None and method != b"\r":
            raise Problem(400, detail="The request line is not valid HTTP/1.1.")
        if len(data) > MAX_LINE:
            raise _line_too_long()
    elif line:
        _line(data[:line])
    if data.count(b"\n") != data.count(b"\r\n"):
        raise Problem(400, detail="A line of the request ends without CR.")
    if len(data) > limit:
        raise Problem(431, detail="The request's header is too large.")


def _line(line: bytes) -> tuple[bytes, bytes, str]:
    """Method, target and version (RFC 9112 section 3)."""
    if len(line) > MAX_LINE:
        raise _line_too_long()
    parts = line.split(b" ")
    version = _VERSIONS.get(parts[-1])
    if b"\n" in line:  # llhttp takes it for the end of an HTTP/0.9 request line, and a field behind it
        raise Problem(400, detail="The request line is not valid HTTP/1.1.")
    if version is None or len(parts) != 3:
        if len(parts) == 2 and parts[0] == b"GET" and parts[1][:1] == b"/":
            parts.append(b"HTTP/0.9")
        if len(parts) == 3 and version is None and _PROTOCOL.fullmatch(parts[2]) is not None:
            raise Problem(505, detail="Send the request in HTTP/1.1.")
        raise Problem(400, detail="The request line is not valid HTTP/1.1.")
    if parts[0] not in _METHODS and _TOKEN.fullmatch(parts[0]) is None:
        raise Problem(400, detail="The request line is not valid HTTP/1.1.")
    return parts[0], parts[1], version


def _line_too_long() -> Problem:
    return Problem(414, detail=f"The request line is longer than {MAX_LINE} bytes.")


def _other_method(name: bytes) -> str:
    if name == b"CONNECT":
        raise Problem(405, detail="CONNECT ends here: this is no proxy for other hosts.", headers=_ALLOW)
    return name.decode("ascii")


def _malformed(error: httptools.HttpParserError) -> Problem:
    if isinstance(error, httptools.HttpParserInvalidMethodError) or _NOT_HTTP in str(error):
        return Problem(501, detail="This method is not known here.")
    return Problem(400, detail=f"The request is not valid HTTP/1.1: {str(error).rstrip('.')}.")


def _length(found: dict[bytes, bytes], version: str) -> int:
    """How a body is framed (RFC 9112 section 6.3)."""
    length, coding = found.get(b"content-length"), found.get(b"transfer-encoding")
    if coding is None:
        assert length is not None  # or nobody had asked
        if not length.isdigit() or len(length) > _MAX_DIGITS:
            raise Problem(400, detail="Content-Length is malformed or was sent more than once.")
        return int(length)
    if length is not None:
        raise Problem(400, detail="Content-Length and Transfer-Encoding exclude each other.")
    if version == "1.0":
        raise Problem(400, detail="HTTP/1.0 has no Transfer-Encoding.")
    if coding.lower() != b"chunked":
        raise Problem(501, detail="The only transfer coding taken is chunked.")
    return CHUNKED
