"""One end of a connection with the gateway, whoever's it is: bytes go out as a test writes them, and are read one by one."""

from __future__ import annotations

import socket
import struct

from rig.message import Ended, Source

LIMIT = 60.0
"""Seconds after which a test that waits has failed; nothing takes anywhere near as long."""
PIECE = 1 << 16


class End:
    """A connected socket. `source` reads from it; `open` is whether it is still the test's."""

    def __init__(self, sock):
        sock.settimeout(LIMIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.source = Source(sock)
        self.open = True

    def send(self, data):
        """Send bytes, whatever they are. Whoever takes them, however slowly, has the limit for each piece anew."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self.sock.sendall(view[start : start + PIECE])

    def send_some(self, data):
        """Send as much as is taken without waiting; how much that was."""
        self.sock.setblocking(False)
        try:
            return self.sock.send(data)
        except (BlockingIOError, ConnectionError):
            return 0
        finally:
            self.sock.settimeout(LIMIT)

    def push(self, piece, world, *, most):
        """Send `piece` over and over until nobody takes any more, or `most` bytes are sent; how many were."""
        sent = idle = 0
        while sent < most and idle < 3:
            taken = self.send_some(memoryview(piece)[sent % len(piece) :])
            sent += taken
            idle = 0 if taken else idle + 1
            if not taken:
                world.settle()
        return sent

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.open = False
        self.sock.close()

    def reset(self):
        """Close without a word: what is under way is met by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def sized(self, length):
        """So many bytes of a body, piece by piece as they come."""
        while length:
            data = self.source.take(min(length, max(1, len(self.source.rest))))
            length -= len(data)
            yield data

    def ends(self):
        """Whether the gateway closes it, after nothing more."""
        return not self.open or self.source.ends()

    def everything_ends(self):
        """Whether the gateway closes, after whatever it has to say."""
        try:
            self.source.everything()
        except ConnectionResetError:
            return True
        return True


def part_of(pieces):
    """What came of a body, and whether it ended before its framing does."""
    part = b""
    try:
        for piece in pieces:
            part += piece
    except Ended:
        return part, True
    return part, False
