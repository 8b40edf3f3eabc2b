"""An origin for what nginx has no ready answer to: a sink for bodies, endless event streams, WebSocket echo.

Run as `python -m benchmarks.gateway.source PORT`.
"""

import asyncio
import base64
import hashlib
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
PIECE = bytes(1 << 16)


class Source(asyncio.Protocol):
    """One connection: requests one after the other, without pipelining."""

    streams: set = set()  # noqa: RUF012 # all that are open, in this process

    def __init__(self) -> None:
        self.buffer = b""
        self.left = 0
        """Bytes of a body that are still to come."""
        self.feeding = 0
        """Bytes of an answer's body that are still to go."""
        self.socket = False
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport) -> None:
        """Called by the event loop."""
        self.transport = transport

    def connection_lost(self, error) -> None:
        """Called by the event loop."""
        self.streams.discard(self)
        self.writable.set()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self.socket:
            self.echo(data)
            return
        if self.left:
            taken = min(self.left, len(data))
            self.left -= taken
            if not self.left:
                self.answer(b"taken")
            return
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if mark:
            self.buffer = b""
            self.request(head, rest)

    def request(self, head: bytes, rest: bytes) -> None:
        """Answer by the path."""
        path = head.split(b" ", 2)[1]
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if path.startswith(b"/sink"):
            self.left = int(fields[b"content-length"])
            self.data_received(rest)
        elif path.startswith(b"/bulk/"):
            size = int(path[6:])
            self.head(b"Content-Length: %d" % size)
            self.task = asyncio.create_task(self.feed(size))
        elif path.startswith(b"/events"):
            self.head(b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked")
            self.event(b"begun")
            self.streams.add(self)
        elif path.startswith(b"/tell"):
            for stream in self.streams:
                stream.event(b"told")
            self.answer(b"%d" % len(self.streams))
        elif fields.get(b"upgrade") == b"websocket":
            original = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
            key = next(value for name, value in original.items() if name.lower() == b"sec-websocket-key")
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self.socket = True
        else:
            self.answer(b"hello")

    def head(self, fields: bytes) -> None:
        """The head of an answer."""
        self.transport.write(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n")

    def answer(self, body: bytes) -> None:
        """A whole answer."""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def event(self, name: bytes) -> None:
        """One event of a stream, as one chunk."""
        data = b"data: %b\n\n" % name
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def feed(self, size: int) -> None:
        """So many zeros."""
        while size > 0 and not self.transport.is_closing():
            await self.writable.wait()
            self.transport.write(PIECE[: min(size, len(PIECE))])
            size -= len(PIECE)

    def echo(self, frame: bytes) -> None:
        """Send one small masked frame back unmasked."""
        self.buffer += frame
        while len(self.buffer) >= 6 and len(self.buffer) >= (size := 6 + (self.buffer[1] & 127)):
            mask, data = self.buffer[2:6], self.buffer[6:size]
            plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
            self.transport.write(bytes((self.buffer[0], len(plain))) + plain)
            self.buffer = self.buffer[size:]


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Source, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
