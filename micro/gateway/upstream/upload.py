"""The body of a request on its way to an instance."""

from __future__ import annotations

KEPT = 64 << 10
"""Bytes of a body that are kept to be sent again."""
LAST_CHUNK = b"0\r\n\r\n"


class Upload:
    """How far a body is, and as much of it as may have to be sent (again)."""

    __slots__ = ("_chunked", "_size", "ended", "kept", "paused", "unwanted")

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked
        self._size = 0
        self.ended = False
        """Whether the client has sent all."""
        self.unwanted = False
        """Whether the instance answered before it had all, and wants no more."""
        self.paused = False
        """Whether the client was asked to wait before there was a connection."""
        self.kept: list[bytes] | None = []
        """The body so far, or nothing where it is not to be sent again."""

    @property
    def chunked(self) -> bool:
        """Whether its length is not known in advance."""
        return self._chunked

    def keep(self, data: bytes, *, waiting: bool, repeatable: bool) -> bool:
        """Hold on to a piece: until there is a connection, and after that as long as it may be repeated.

        Whether that gets too much.
        """
        if self.kept is None:
            return False
        self._size += len(data)
        large = self._size > KEPT
        if waiting or (repeatable and not large):
            self.kept.append(data)
        else:
            self.kept = None
        return waiting and large

    def framed(self, data: bytes) -> bytes:
        """A piece as it is sent."""
        return chunk(data) if self._chunked else data

    def so_far(self) -> bytes:
        """All that was kept as it is sent, with its end where that has come."""
        data = b"".join(map(self.framed, self.kept or ()))
        return data + LAST_CHUNK if self._chunked and self.ended else data


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
