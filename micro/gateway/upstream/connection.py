"""One keep-alive connection to an instance: one exchange at a time, and none when idle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from micro.gateway.upstream.answer import AnswerReader
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.deadlines import Slot
    from micro.gateway.upstream.leg import NetworkLeg
    from micro.gateway.upstream.pool import Pool

NEVER = float("inf")


class Connection(asyncio.Protocol):
    """Passes bytes between its transport and the exchange that has it, and keeps the deadlines of both.

    One entry in the wheel serves for all its deadlines: a later one only writes `deadline`, and the entry moves when
    it comes up.
    """

    __slots__ = (
        "_armed",
        "_backlog",
        "_slot",
        "clogged",
        "deadline",
        "leg",
        "paused",
        "pool",
        "reader",
        "since",
        "transport",
        "used",
    )

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.reader = AnswerReader()
        self.leg: NetworkLeg | None = None
        """Whose exchange it is on; none when idle."""
        self.used = False
        """Whether an exchange has ended well on it."""
        self.since = 0.0
        """When it became idle."""
        self.clogged = False
        """Whether the instance doesn't take what waits for it."""
        self.deadline = NEVER
        self._armed = NEVER
        self._slot: Slot | None = None
        self._backlog = 0
        self.paused = False
        """Whether nothing is read, for the client can't take it."""

    # The exchange's side.

    def expect(self, seconds: float | None) -> None:
        """Something must come from the instance within so many seconds."""
        self.limit(NEVER if seconds is None else self.pool.monotonic() + seconds)

    def limit(self, moment: float) -> None:
        """Set the deadline; there is one at a time."""
        self.deadline = moment
        if moment < self._armed:
            self._arm(moment)

    def _arm(self, moment: float) -> None:
        """Let the wheel look here then."""
        if self._slot is not None:
            self._slot.discard(self)
        self._armed = moment
        self._slot = self.pool.wheel.add(self, moment)

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

    def drop(self) -> None:
        """Close it at once; its exchange is not told."""
        self.leg = None
        self.transport.abort()

    def hang_up(self) -> None:
        """Close it when the instance has what was sent, and at once if it doesn't take it; its exchange is not told."""
        self.leg = None
        self.expect(self.pool.spec.write_timeout)
        self.transport.close()

    def finish(self, now: float, *, keep: bool) -> None:
        """Its exchange has ended. Keep it for the next one, or close it."""
        if keep:
            self.reader.begin()
            self.release(now)
        else:
            self.drop()

    def release(self, now: float) -> None:
        """Keep it for the next exchange; the reader waits for an answer to GET already."""
        self.leg = None
        if self.clogged:
            self.transport.abort()
            return
        if self.paused:  # the client can't take the answer yet; the instance has given all of it
            self.paused = False
            self.transport.resume_reading()
        self.used = True
        self.since = now
        self.pool.idle.append(self)

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol.connection_made`."""
        stream = cast(asyncio.Transport, transport)
        self.transport = cast(asyncio.Transport, self.pool.outgoing.over(stream))
        self._arm(self.pool.monotonic() + self.pool.keep_alive)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        leg, known = self.leg, self.reader.known
        if (
            known is not None
            and leg is not None
            and len(data) == known.size
            and data.startswith(known.head)
            and leg.again(known, data[-known.length :])
        ):
            return
        if leg is None:  # nobody asked for anything
            self.transport.abort()
        elif leg.tunnel is not None:
            leg.tunnel.from_instance(data)
        else:
            self._read(leg, data)

    def _read(self, leg: NetworkLeg, data: bytes) -> None:
        reader = self.reader
        try:
            reader.feed(data)
        except UpstreamError as error:
            self._fail(error)
            return
        if reader.interim or not reader.done or leg.answered or not leg.whole(reader):
            self._tell(leg, reader)

    def _tell(self, leg: NetworkLeg, reader: AnswerReader) -> None:
        """What came of an answer, part by part."""
        if reader.interim:
            leg.interim(reader)
        if reader.status and not leg.answered and self.leg is leg:
            leg.head(reader)
        if reader.pieces and self.leg is leg:
            leg.downstream.feed(reader.take())
        if self.leg is leg and leg.tunnel is None:
            if reader.done:
                leg.done(reader)
            elif not self.paused:
                self.expect(self.pool.spec.read_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol.connection_lost`."""
        self.pool.forget(self)
        if self._slot is not None:
            self._slot.discard(self)
        leg, self.leg = self.leg, None
        if leg is None:
            return
        if leg.tunnel is not None:
            leg.tunnel.lost(exc)
            return
        try:
            if exc is not None:
                self.reader.until_end = False
            self.reader.end()
        except UpstreamError as error:
            error.__cause__ = exc
            leg.failed(error, stale=self.used and error.kind == "connection_terminated")
        else:
            leg.done(self.reader)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol.pause_writing`."""
        self.clogged = True
        self._backlog = self.transport.get_write_buffer_size()
        self.expect(self.pool.spec.write_timeout)
        if self.leg is not None:
            self.leg.downstream.pause()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol.resume_writing`."""
        self.clogged = False
        self.deadline = NEVER
        if self.leg is not None:
            self.leg.unclogged()

    # The wheel's side.

    def due(self) -> None:
        """See `Timed.due`. The wheel always has an entry, `keep_alive` seconds ahead at most: so who sets no deadline has
        nothing to do with it."""
        self._slot = None
        pool, leg = self.pool, self.leg
        now = pool.monotonic()
        idle = leg is None and not self.transport.is_closing()
        moment = self.since + pool.keep_alive if idle else self.deadline
        if now < moment:
            self._arm(min(moment, now + pool.keep_alive))
            return
        self._armed = NEVER
        if leg is None:
            self.transport.abort()
        else:
            self._overdue(leg)

    def _overdue(self, leg: NetworkLeg) -> None:
        """What was expected has not come."""
        if leg.tunnel is not None and not self.clogged:
            leg.tunnel.silent()
        elif self.clogged and self.transport.get_write_buffer_size() != self._backlog:
            self._backlog = self.transport.get_write_buffer_size()
            self.expect(self.pool.spec.write_timeout)
        else:
            self._fail(_late(self))

    def _fail(self, error: UpstreamError) -> None:
        leg = self.leg
        self.drop()
        if leg is not None:
            leg.failed(error)


def _late(connection: Connection) -> UpstreamError:
    if connection.clogged:
        return UpstreamError("connection_write_timeout", "the instance takes no more of the request")
    what = "more of the answer" if connection.reader.status else "an answer"
    return UpstreamError("connection_read_timeout", f"the instance did not send {what} in time")
