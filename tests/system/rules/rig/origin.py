"""A scripted origin: it takes the connections that come, shows what it is sent, and answers what a test writes."""

from __future__ import annotations

import select
import socket

from rig.end import LIMIT, End, part_of
from rig.message import Ended, chunks, read_request

SOON = 10.0
"""Seconds within which a request follows that is caused by the same bytes as an answer to a client."""


class Line(End):
    """One connection that the origin accepted."""

    def __init__(self, sock, number):
        super().__init__(sock)
        self.number = number

    def request(self):
        """The next request on this very connection."""
        self.source.forget()
        return Got(self, read_request(self.source))


class Got:
    """One request that has come, and the way to answer it."""

    def __init__(self, line, message):
        self.line = line
        self.message = message
        self.raw = message.raw
        self.method = message.method
        self.target = message.target
        self.fields = message.fields
        self.names = message.names
        self.all = message.all

    def __getitem__(self, name):
        return self.message[name]

    def __contains__(self, name):
        return name in self.message

    def pieces(self):
        """The body piece by piece, as its framing says."""
        length = self.message.length
        if length is None:
            yield from chunks(self.line.source)
        elif length > 0:
            yield from self.line.sized(length)

    def body(self):
        """The whole body."""
        return b"".join(self.pieces())

    def breaks_off(self):
        """Whether the body ends before its framing does; what came of it is in `part`."""
        self.part, broken = part_of(self.pieces())
        return broken

    def send(self, data):
        self.line.send(data)
        return self

    def answer(self, status=200, *fields, body=b""):
        """A complete answer with a `Content-Length`."""
        head = b"HTTP/1.1 %d X\r\n" % status + b"".join(each + b"\r\n" for each in fields)
        if status not in {204, 304}:
            head += b"Content-Length: %d\r\n" % len(body)
        return self.send(head + b"\r\n" + body)

    def gone(self):
        """Whether the gateway lets go of the connection, after nothing more."""
        return self.line.ends()


class Origin:
    """Listens on a port of its own, from the test's thread: nothing is taken but what the test takes."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(LIMIT)
        self.address = self._listener.getsockname()
        self.url = f"http://{self.address[0]}:{self.address[1]}"
        self.lines = []
        self.clients = []
        """Who may have got an answer in place of the request that is waited for: there is no use in waiting on then."""

    def accept(self):
        """The next connection, whether or not something comes on it."""
        sock, _ = self._listener.accept()
        self.lines.append(Line(sock, len(self.lines)))
        return self.lines[-1]

    def request(self):
        """The next request, on whichever connection it comes."""
        while True:
            line = self._ready(LIMIT, self.clients)
            if line is None:
                raise AssertionError(
                    f"no request came, but to the client: {[each.pending() for each in self.clients]}"
                )
            try:
                return line.request()
            except Ended:
                if line.source.rest:
                    raise
                line.close()

    def silent(self):
        """Whether nothing has come that was not taken, neither a connection nor a byte on one."""
        while (line := self._ready(0)) is not None:
            if line.source.rest or line.sock.recv(1, socket.MSG_PEEK):
                return False
            line.close()
        return True

    def stop_listening(self):
        """Refuse connections from now on."""
        self._listener.close()

    def close(self):
        self._listener.close()
        for line in self.lines:
            line.close()

    def _ready(self, limit, clients=()):
        """The connection on which something has come; soon nothing, where something has come to a client instead."""
        while True:
            for line in self.lines:
                if line.open and line.source.rest:
                    return line
            socks = {line.sock: line for line in self.lines if line.open}
            if self._listener.fileno() >= 0:
                socks[self._listener] = None
            others = [each for each in clients if each.fileno() >= 0]
            ready, _, _ = select.select([*socks, *others], [], [], limit)
            if others and ready and not any(sock in socks for sock in ready):
                ready, _, _ = select.select(list(socks), [], [], SOON)
            ready = [sock for sock in ready if sock in socks]
            for sock in ready:
                if socks[sock] is not None:
                    return socks[sock]
            if not ready:
                return None
            self.accept()
            limit = min(limit, LIMIT)
