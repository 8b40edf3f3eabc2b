"""An origin that answers by itself: for tests that send too much to be scripted."""

from __future__ import annotations

import asyncio
import hashlib

from rig.message import Ended, Faulty, Source, chunks, read_request


class Memory:
    """Bytes that have come, read as if off a socket; the end is where no more has come."""

    def __init__(self, data):
        self._data = data

    def recv(self, most):
        data, self._data = self._data, b""
        return data


def requests_in(data):
    """The whole requests in `data`, strictly read, and what is behind them. Raises `Faulty`."""
    found = []
    while True:
        source = Source(Memory(data))
        try:
            message = read_request(source)
            length = message.length
            body = b"".join(chunks(source)) if length is None else source.take(max(length, 0))
        except Ended:
            return found, data
        found.append((message.method, message.target, body))
        data = data[len(source.taken) :]


def mark_of(request):
    """What the answer to a request says: it belongs to no other."""
    return hashlib.sha256(repr(request).encode()).hexdigest()[:16].encode()


class AutomaticOrigin:
    """Answers each request with its mark, and keeps what it saw.

    `answers` are bytes to send in place of the mark, by target; the connection is closed behind them.
    """

    def __init__(self):
        self.seen = []
        self.faults = []
        self.answers = {}
        self.transports = set()
        self._server = None
        self.url = ""

    async def open(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()
        self.url = f"http://{self.address[0]}:{self.address[1]}"
        return self

    async def close(self):
        self._server.close()
        for transport in list(self.transports):
            transport.abort()


class _Line(asyncio.Protocol):
    def __init__(self, origin):
        self._origin = origin
        self._data = b""

    def connection_made(self, transport):
        self._transport = transport
        self._origin.transports.add(transport)

    def connection_lost(self, exc):
        self._origin.transports.discard(self._transport)

    def data_received(self, data):
        origin = self._origin
        try:
            found, self._data = requests_in(self._data + data)
        except Faulty as fault:
            origin.faults.append((fault, self._data + data))
            self._transport.abort()
            return
        for request in found:
            origin.seen.append(request)
            own = origin.answers.get(request[1])
            if own is not None:
                self._transport.write(own)
                self._transport.close()
                return
            body = mark_of(request)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + (b"" if request[0] == b"HEAD" else body))
