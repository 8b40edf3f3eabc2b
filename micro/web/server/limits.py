"""What a connection may cost."""

from __future__ import annotations

MAX_LINE = 8192
"""Octets of a request line. RFC 9112 section 3 recommends at least 8000; a longer one gets 414."""
MAX_KNOWN = 8192
"""Bytes of a head that is remembered, in several forms, by its connection; a larger one is read each time."""
HIGH_WATER = 65536
"""Bytes that wait for whoever is to take them, after which the sender is asked to wait."""
MAX_DRAINED = 4 << 20
"""Bytes of a body that nobody wants, up to which it is read and dropped so that the connection can go on."""
SLOW_AFTER = 5
"""Seconds by which a client may be behind its least rate before it is cut off."""
LINGER = 2
"""Seconds for which a connection that was closed with input unread is kept, so that the client gets the answer: to close
it at once would reset it (RFC 9112 section 9.6)."""
HALF_CLOSED = 5
"""Seconds without a byte sent after which a client that closed its half is taken to have left. A client that closes its
socket looks the same as one that only has no more to say, until something is sent to it."""


class Limits:
    """The limits of one port. Sizes in bytes, times in whole seconds, kept to about one."""

    __slots__ = ("head_timeout", "keep_alive", "max_head", "min_rate")

    def __init__(
        self,
        *,
        max_head: int = 32 << 10,
        head_timeout: float = 10.0,
        min_rate: int = 256,
        keep_alive: float = 65.0,
    ) -> None:
        self.max_head = max_head
        """Of a request: its line and header fields together; a larger one gets 431."""
        self.head_timeout = head_timeout
        """From a request's first byte to the end of its head; then 408."""
        self.min_rate = min_rate
        """Bytes a second that a client must send of a body, or take of an answer; 0 for none."""
        self.keep_alive = keep_alive
        """How long an idle connection is kept: longer than the 60 s after which common load balancers let go of
        theirs."""
