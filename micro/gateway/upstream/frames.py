"""WebSocket frames on their way through a tunnel (RFC 6455 section 5): their headers are read, nothing is changed."""

from __future__ import annotations

MAX_MESSAGE = 16 << 20
"""Bytes of one message, as it is on the wire."""
TOO_BIG = 1009
PROTOCOL_ERROR = 1002
GOING_AWAY = 1001
SERVICE_RESTART = 1012
"""Close codes (RFC 6455 section 7.4.1, and https://www.iana.org/assignments/websocket)."""

_CLOSE = 0x8
_CONTROL = 0x8
_LENGTHS = {126: 2, 127: 8}
_LONGEST_CONTROL = 125


class FrameWatch:
    """Reads one direction. What it gives back always ends inside a payload or between two frames, so that a close
    frame can be put in where `between` is true."""

    __slots__ = ("_held", "_left", "_size", "closing", "code")

    def __init__(self) -> None:
        self._held = b""
        """The beginning of a frame's header."""
        self._left = 0
        """Bytes of the payload that are still to come."""
        self._size = 0
        """Bytes of the message so far."""
        self.closing = False
        """Whether a close frame has passed: the last frame of a direction."""
        self.code = 0
        """Why no more is let through; 0 for no reason."""

    @property
    def between(self) -> bool:
        """Whether the next byte to be let through begins a frame."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """What may be sent on now: `data` itself most of the time."""
        if self._held:
            data = self._held + data
            self._held = b""
        position, end = self._left, len(data)
        while position < end and not self.code:
            step = self._header(data, position)
            if not step:
                break
            position += step
        if position >= end:
            self._left = position - end
            return data
        self._left = 0
        if not self.code:
            self._held = data[position:]
        return data[:position]

    def _header(self, data: bytes, start: int) -> int:
        """Bytes of the frame that begins there; 0 where it may not pass, or its header is not complete."""
        if start + 2 > len(data):
            return 0
        kind, second = data[start], data[start + 1]
        length = second & 0x7F
        wide = _LENGTHS.get(length, 0)
        size = 2 + wide + (4 if second & 0x80 else 0)
        if start + size > len(data):
            return 0
        if wide:
            length = int.from_bytes(data[start + 2 : start + 2 + wide], "big")
        self._account(kind, length)
        return 0 if self.code else size + length

    def _account(self, kind: int, length: int) -> None:
        opcode = kind & 0x0F
        if opcode >= _CONTROL:
            if length > _LONGEST_CONTROL:
                self.code = PROTOCOL_ERROR
            self.closing = self.closing or opcode == _CLOSE
            return
        self._size += length
        if self._size > MAX_MESSAGE:
            self.code = TOO_BIG
        if kind & 0x80:
            self._size = 0


def close_frame(code: int, *, masked: bool) -> bytes:
    """A close frame without a reason; `masked` as a client must (with a key of zeros: there is nothing to hide)."""
    payload = code.to_bytes(2, "big")
    return b"\x88\x82\0\0\0\0" + payload if masked else b"\x88\x02" + payload
