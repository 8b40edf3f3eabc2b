"""One keep-alive connection to an instance: one exchange at a time, and none when idle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.upstream.answer import AnswerReader
from micro.gateway.upstream.leg import FAILURES, NetworkLeg
from micro.gateway.upstream.line import Line
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.direct import Downstream
    from micro.gateway.upstream.pool import Pool


class Connection(Line):
    """Passes bytes between its transport and the exchange that has it.

    Most requests are sent at once and answered at once. So a request without a body that is sent over an idle connection
    needs nobody but that: the connection is its `Leg`. When anything else comes than its whole answer, the exchange gets
    a `NetworkLeg`, which knows of waiting, streaming and trying again.
    """

    __slots__ = ("awaiting", "downstream", "leg", "reader", "used")

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.reader = AnswerReader(pool.cluster.retry_statuses)
        self.leg: NetworkLeg | None = None
        """What looks after the exchange that it is on; none when idle, and where the connection does so itself."""
        self.awaiting: Exchange | None = None
        """The exchange, as long as its request is sent and nothing of its answer is passed on."""
        self.downstream: Downstream | None = None
        """That one's client's side."""
        self.used = False
        """Whether an exchange has ended well on it."""

    @property
    def idle(self) -> bool:
        """See `Line.idle`."""
        return self.leg is None and self.awaiting is None

    # The exchange's side.

    def carry(self, exchange: Exchange, downstream: Downstream, head: bytes) -> None:
        """Send a request that is nothing but its `head`, and be its leg."""
        self.awaiting, self.downstream = exchange, downstream
        if exchange.method == "HEAD":
            self.reader.begin(mute=True)
        self.deadline = moment = exchange.began + self.pool.patience  # as `limit` does
        if moment < self._armed:
            self._arm(moment)
        self.transport.write(head)

    def drop(self) -> None:
        """Close it at once; its exchange is not told."""
        self._let_go()
        self.transport.abort()

    def hang_up(self) -> None:
        """Close it when the instance has what was sent, and at once if it doesn't take it; its exchange is not told."""
        self._let_go()
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
        self._let_go()
        if self.clogged:
            self.transport.abort()
            return
        if self.paused:  # the client can't take the answer yet; the instance has given all of it
            self.paused = False
            self.transport.resume_reading()
        self.used = True
        self.since = now
        self.pool.idle.append(self)

    def _let_go(self) -> None:
        self.leg = self.awaiting = self.downstream = None

    # As the leg of an exchange without a body: there is nothing to feed, and no tunnel. `pause` and `resume` are the line's.

    def cancel(self) -> None:
        """See `Leg.cancel`."""
        leg = self._in_hand()
        if leg is not None:
            leg.cancel()

    def feed(self, data: bytes) -> None:
        """See `Leg.feed`."""

    def end(self) -> None:
        """See `Leg.end`."""

    def close(self) -> None:
        """See `Leg.close`."""

    def _in_hand(self) -> NetworkLeg | None:
        """The leg of its exchange, which gets one now that there is more to it."""
        exchange, downstream = self.awaiting, self.downstream
        if self.leg is None and exchange is not None and downstream is not None:
            self.leg = downstream.leg = leg = NetworkLeg(self.pool.upstream, exchange, downstream, False)
            leg.follow(self)
        return self.leg

    # The transport's side.

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        exchange, known = self.awaiting, self.reader.known
        if exchange is None or known is None or len(data) != known.size or not data.startswith(known.head):
            self._read(data)
            return
        # A whole answer, with a head that is known: as `_answer` does, most of the time.
        downstream, pool = self._answered(), self.pool
        monotonic = pool.monotonic  # a callable kept in a slot is called faster by a name
        now, began = monotonic(), exchange.began
        exchange.upstream_seconds = now - began
        exchange.known_answer = known
        if self.clogged or self.paused:
            self.release(now)
        else:
            self.since = now
            pool.idle.append(self)
        pool.cluster.served(pool.instance, now, began)
        downstream.head(known.status, known.fields, known.length, body=data[-known.length :])

    def _read(self, data: bytes) -> None:
        """Something else came."""
        leg, reader = self.leg, self.reader
        if self.idle:  # nobody asked for anything
            self.transport.abort()
            return
        if leg is not None and leg.tunnel is not None:
            leg.tunnel.from_instance(data)
            return
        try:
            reader.feed(data)
        except UpstreamError as error:
            self._fail(error)
            return
        exchange = self.awaiting
        if exchange is not None and reader.done and not reader.interim and self._is_final(reader.status):
            self._answer(exchange)
        else:
            leg = self._in_hand()
            assert leg is not None  # it isn't idle
            self._tell(leg)

    def _is_final(self, status: int) -> bool:
        """Whether an answer with this status is the client's as it is: it makes no tunnel, and the request isn't sent again."""
        return status != 101 and status not in self.pool.cluster.retry_statuses

    def _answer(self, exchange: Exchange) -> None:
        """Pass on an answer that came whole."""
        reader, pool = self.reader, self.pool
        status, cluster = reader.status, pool.cluster
        downstream = self._answered()
        now, began = pool.monotonic(), exchange.began
        exchange.upstream_seconds = now - began
        fields, length, body = reader.fields, reader.length, reader.take()
        self.finish(now, keep=reader.keep)
        cluster.ended(pool.instance, status in FAILURES, now - began)
        cluster.slots.leave()
        downstream.head(status, fields, length, body=body)

    def _answered(self) -> Downstream:
        """Have nothing more to do with the exchange: before anybody is told, for that may have the next one sent here."""
        downstream = self.downstream
        assert downstream is not None  # or no answer would be awaited
        self.awaiting = self.downstream = None
        if self.leg is None:
            downstream.leg = None
        else:
            self.leg.answered_at_once()
            self.leg = None
        return downstream

    def _tell(self, leg: NetworkLeg) -> None:
        """What came of an answer, part by part."""
        reader = self.reader
        if reader.interim:
            leg.interim(reader)
        if reader.status and not leg.answered and self.leg is leg:
            self.awaiting = None
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
        super().connection_lost(exc)
        leg = self._in_hand()
        self._let_go()
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
        super().pause_writing()
        leg = self._in_hand()
        if leg is not None:
            leg.downstream.pause()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol.resume_writing`."""
        super().resume_writing()
        if self.leg is not None:
            self.leg.unclogged()

    # The wheel's side.

    def late(self) -> None:
        """See `Line.late`."""
        leg = self.leg
        if leg is not None and leg.tunnel is not None and not self.clogged:
            leg.tunnel.silent()
        elif not self.still_taken():
            self._fail(_late(self))

    def _fail(self, error: UpstreamError) -> None:
        leg = self._in_hand()
        self.drop()
        if leg is not None:
            leg.failed(error)


def _late(connection: Connection) -> UpstreamError:
    if connection.clogged:
        return UpstreamError("connection_write_timeout", "the instance takes no more of the request")
    what = "more of the answer" if connection.reader.status else "an answer"
    return UpstreamError("connection_read_timeout", f"the instance did not send {what} in time")
