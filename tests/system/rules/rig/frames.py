"""WebSocket frames (RFC 6455 section 5), written and read byte for byte."""

from __future__ import annotations

import base64
import hashlib
import struct

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x01\x02\x03\x04"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HANDSHAKE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + KEY,
)


def accept_of(key):
    """The proof that a handshake was understood (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324 # the RFC's


def masked(data):
    return (
        bytes(byte ^ MASK[place % 4] for place, byte in enumerate(data)) if len(data) < 4096 else _long(data)
    )


def _long(data):
    key = int.from_bytes(MASK * (len(data) // 4 + 1), "big") >> 8 * (4 - len(data) % 4)
    return (int.from_bytes(data, "big") ^ key).to_bytes(len(data), "big")


def frame(opcode, data=b"", *, final=True, mask=False, length=None):
    """One frame; `length` is what it announces, which may be a lie."""
    length = len(data) if length is None else length
    first = bytes([(0x80 if final else 0) | opcode])
    flag = 0x80 if mask else 0
    if length < 126:
        head = first + bytes([flag | length])
    elif length < 65536:
        head = first + bytes([flag | 126]) + struct.pack(">H", length)
    else:
        head = first + bytes([flag | 127]) + struct.pack(">Q", length)
    return head + (MASK + masked(data) if mask else data)


def close(code, reason=b"", *, mask=False):
    return frame(CLOSE, struct.pack(">H", code) + reason, mask=mask)


def read_frame(source, *, mask):
    """The next frame: its opcode, its payload, and whether it is the last of its message."""
    first, second = source.take(2)
    assert bool(second & 0x80) == mask, "a client masks, a server doesn't (section 5.1)"
    length = second & 0x7F
    if length > 125:
        length = int.from_bytes(source.take(2 if length == 126 else 8), "big")
    key = source.take(4) if mask else b"\0\0\0\0"
    data = source.take(length)
    if mask:
        data = _unmask(data, key)
    return first & 0x0F, data, bool(first & 0x80)


def _unmask(data, key):
    number = int.from_bytes((key * (len(data) // 4 + 1))[: len(data)], "big")
    return (int.from_bytes(data, "big") ^ number).to_bytes(len(data), "big")


def read_message(source, *, mask):
    """The next message, or close frame: pings and pongs on the way are left out."""
    kind, parts = None, []
    while True:
        opcode, data, final = read_frame(source, mask=mask)
        if opcode == CLOSE:
            return CLOSE, data
        if opcode in {PING, PONG}:
            continue
        kind = opcode if kind is None else kind
        parts.append(data)
        if final:
            return kind, b"".join(parts)


def said(data):
    """Code and reason of a close frame."""
    return struct.unpack(">H", data[:2])[0], data[2:]
