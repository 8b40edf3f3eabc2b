"""A connection to an instance as such: what it takes, what comes of it, and how long each may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from micro.gateway.deadlines import Slot
    from micro.gateway.upstream.pool import Pool

NEVER = float("inf")


class Line(asyncio.Protocol):
    """Keeps a connection's deadlines; what is said on it is the subclass's.

    One entry in the wheel serves for all of them: a later one only writes `deadline`, and the entry moves when it comes
    up.
    """

    __slots__ = ("_armed", "_backlog", "_slot", "clogged", "deadline", "paused", "pool", "since", "transport")

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.since = 0.0
        """When it became idle."""
        self.clogged = False
        """Whether the instance doesn't take what waits for it."""
        self.paused = False
        """Whether nothing is read, for the client can't take it."""
        self.deadline = NEVER
        self._armed = NEVER
        self._slot: Slot | None = None
        self._backlog = 0

    @property
    def idle(self) -> bool:
        """Whether no exchange is on it."""
        raise NotImplementedError

    def late(self) -> None:
        """What an exchange expected has not come in time."""
        raise NotImplementedError

    def expect(self, seconds: float | None) -> None:
        """Something must come from the instance within so many seconds."""
        self.limit(NEVER if seconds is None else self.pool.monotonic() + seconds)

    def limit(self, moment: float) -> None:
        """Set the deadline; there is one at a time."""
        self.deadline = moment
        if moment < self._armed:
            self._arm(moment)

    def pause(self) -> None:
        """Read no more: the client can't take it. The instance is not to blame meanwhile."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()
            self.deadline = NEVER

    def resume(self) -> None:
        """Read on."""
        if self.paused and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()
            self.expect(self.pool.spec.read_timeout)

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol.connection_made`."""
        stream = cast(asyncio.Transport, transport)
        self.transport = cast(asyncio.Transport, self.pool.outgoing.over(stream))
        self._arm(self.pool.monotonic() + self.pool.keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol.connection_lost`."""
        self.pool.forget(self)
        if self._slot is not None:
            self._slot.discard(self)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol.pause_writing`."""
        self.clogged = True
        self._backlog = self.transport.get_write_buffer_size()
        self.expect(self.pool.spec.write_timeout)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol.resume_writing`."""
        self.clogged = False
        self.deadline = NEVER

    # The wheel's side.

    def due(self) -> None:
        """See `Timed.due`. The wheel always has an entry, `keep_alive` seconds ahead at most: so who sets no deadline has
        nothing to do with it."""
        self._slot = None
        pool = self.pool
        now = pool.monotonic()
        idle = self.idle
        kept = idle and not self.transport.is_closing()
        moment = self.since + pool.keep_alive if kept else self.deadline
        if now < moment:
            self._arm(min(moment, now + pool.keep_alive))
            return
        self._armed = NEVER
        if idle:
            self.transport.abort()
        else:
            self.late()

    def still_taken(self) -> bool:
        """Whether the instance has taken something since the last look at what waits for it: then it gets more time."""
        waiting = self.transport.get_write_buffer_size()
        if not self.clogged or waiting == self._backlog:
            return False
        self._backlog = waiting
        self.expect(self.pool.spec.write_timeout)
        return True

    def _arm(self, moment: float) -> None:
        """Let the wheel look here then."""
        if self._slot is not None:
            self._slot.discard(self)
        self._armed = moment
        self._slot = self.pool.wheel.add(self, moment)
