"""Messages of HTTP/1.1, read as strictly as RFC 9112 allows: a byte that two readers could understand differently fails.

The scripted client and the scripted origin both read with this, so whatever passes the gateway has to satisfy it. It
shares no code with the gateway.
"""

from __future__ import annotations

import re

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
DIGITS = re.compile(rb"[0-9]+")


class Faulty(AssertionError):
    """What came is not HTTP/1.1."""


class Ended(AssertionError):
    """The other side closed where the message went on."""


class Source:
    """The bytes that come on a socket."""

    def __init__(self, sock):
        self._sock = sock
        self._rest = b""
        self._taken = bytearray()

    @property
    def taken(self):
        """What was read since `forget`."""
        return bytes(self._taken)

    def forget(self):
        """Begin `taken` anew."""
        self._taken.clear()

    @property
    def rest(self):
        """What has come, and belongs to no message yet."""
        return self._rest

    def until(self, mark):
        """The bytes up to `mark`, which is taken, too."""
        while mark not in self._rest:
            self._more()
        return self.take(self._rest.index(mark) + len(mark))[: -len(mark)]

    def take(self, count):
        while len(self._rest) < count:
            self._more()
        found, self._rest = self._rest[:count], self._rest[count:]
        self._taken += found
        return found

    def some(self):
        """Whatever comes next, at least a byte."""
        if not self._rest:
            self._more()
        return self.take(len(self._rest))

    def everything(self):
        """Up to the end of the connection."""
        while data := self._sock.recv(65536):
            self._rest += data
        return self.take(len(self._rest))

    def drained(self):
        """What has come before the connection was reset."""
        return self.take(len(self._rest))

    def has_more(self):
        """Whether there is a byte more, now or later."""
        try:
            if not self._rest:
                self._more()
        except Ended:
            return False
        return True

    def ends(self):
        """Whether nothing more comes, ever."""
        try:
            return not self._rest and not self._sock.recv(1)
        except ConnectionResetError:
            return True  # it closed with some of ours unread

    def _more(self):
        try:
            data = self._sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Ended(f"closed after {self._rest[-200:]!r}")
        self._rest += data


class Message:
    """A head, and what it says about its body."""

    def __init__(self, raw):
        self.raw = raw
        """The head, byte for byte."""
        line, *lines = raw[:-4].split(b"\r\n")
        self.line = line
        self.pairs = [_pair(each) for each in lines]
        """Names as they came."""
        self.fields = [(name.lower(), value) for name, value in self.pairs]
        self.names = [name for name, _ in self.fields]

    def all(self, name):
        """The values of a field, in order."""
        return [value for key, value in self.fields if key == name]

    def __getitem__(self, name):
        values = self.all(name)
        assert len(values) == 1, (name, values)
        return values[0]

    def __contains__(self, name):
        return name in self.names

    @property
    def length(self):
        """How long the body is: a number, `None` in chunks, or -1 where nothing says it."""
        lengths, codings = self.all(b"content-length"), self.all(b"transfer-encoding")
        if codings:
            if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
                raise Faulty((lengths, codings))
            return None
        if not lengths:
            return -1
        if len(lengths) > 1 or not DIGITS.fullmatch(lengths[0]):
            raise Faulty(lengths)
        return int(lengths[0])


def read_request(source):
    """A request's head, whose line is a method, a path and the version."""
    message = Message(source.until(b"\r\n\r\n") + b"\r\n\r\n")
    match = REQUEST_LINE.fullmatch(message.line)
    if match is None or len(message.all(b"host")) != 1:
        raise Faulty(message.raw)
    message.method, message.target = match[1], match[2]
    return message


def read_status(source):
    """An answer's head."""
    message = Message(source.until(b"\r\n\r\n") + b"\r\n\r\n")
    match = STATUS_LINE.fullmatch(message.line)
    if match is None:
        raise Faulty(message.raw)
    message.status = int(match[1])
    if (message.status < 200 or message.status == 204) and (
        b"content-length" in message or b"transfer-encoding" in message
    ):
        raise Faulty(message.raw)
    return message


def chunks(source):
    """The chunks of a body one by one. No extension, and no trailer section, is taken."""
    while True:
        line = source.until(b"\r\n")
        if not SIZE.fullmatch(line):
            raise Faulty(line)
        size = int(line, 16)
        data = source.take(size)
        if source.take(2) != b"\r\n":
            raise Faulty(f"behind a chunk of {size}: {source.taken[-20:]!r}")
        if not size:
            return
        yield data


def _pair(line):
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not TOKEN.fullmatch(name) or (value and not VALUE.fullmatch(value)):
        raise Faulty(line)
    return name, value
