"""One exchange on its way to an instance, as the client's side and the connection see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.headers import is_event_stream
from micro.gateway.upstream.answer import KnownAnswer
from micro.gateway.upstream.attempts import LAST_CHUNK, Attempts, chunk
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.upstream.answer import AnswerReader

_FAILURES = frozenset({502, 503, 504})
"""Answers that speak against an instance."""


class NetworkLeg(Attempts):
    """See `direct.Leg`."""

    __slots__ = ()

    # The client's side.

    def feed(self, data: bytes) -> None:
        """See `Leg.feed`."""
        if self.tunnel is not None:
            self.tunnel.from_client(data)
        elif not self.over and not self._unwanted:
            if self._kept is not None:
                self._keep(self._kept, data)
            if self._connection is not None:
                self._connection.transport.write(chunk(data) if self._chunked else data)

    def end(self) -> None:
        """See `Leg.end`."""
        if self.tunnel is not None:
            self.tunnel.client_left()
        elif not self._ended:
            self._ended = True
            connection = self._connection
            if connection is not None and not self._unwanted:
                if self._chunked:
                    connection.transport.write(LAST_CHUNK)
                if not self.answered and not connection.clogged:
                    connection.expect(self._upstream.spec.first_byte_timeout)

    def close(self) -> None:
        """See `Leg.close`."""
        if self.tunnel is not None:
            self.tunnel.close()

    def cancel(self) -> None:
        """See `Leg.cancel`."""
        if self.over:
            return
        self.over = True
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.drop()
            self._connection = None
        if self._instance is not None:
            self._report(failed=self._is_late() or None)
        slots = self._upstream.cluster.slots
        if not self._queued or not slots.withdraw(self):
            slots.leave()

    def pause(self) -> None:
        """See `Throttled.pause`."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """See `Throttled.resume`."""
        if self._connection is not None:
            self._connection.resume()

    # The connection's side.

    def interim(self, reader: AnswerReader) -> None:
        """Interim answers came; a client of HTTP/1.0 does not know them (RFC 9110 section 15.2)."""
        if self._exchange.version != "1.0":
            for status, fields in reader.interim:
                if not self.over:
                    self.downstream.head(status, fields, 0)
        reader.interim.clear()

    def whole(self, answer: AnswerReader | KnownAnswer, body: bytes) -> bool:
        """A whole answer came at once, `body` being what the reader has none of.

        False where there is more to think about: then its parts are told one by one.
        """
        upstream, connection, instance = self._upstream, self._connection, self._instance
        cluster, status, exchange = upstream.cluster, answer.status, self._exchange
        if connection is None or instance is None or not self._ended:
            return False
        if status == 101 or status in cluster.retry_statuses:
            return False
        self.over = self.answered = True
        self._connection = self._instance = None
        monotonic = upstream.monotonic  # a callable kept in a slot is called faster by a name
        now = monotonic()
        exchange.upstream_seconds = now - self._began
        fields, length, keep = answer.fields, answer.length, True
        if isinstance(answer, KnownAnswer):
            exchange.answer = answer
            fields = fields.copy()
        else:
            exchange.answer = None
            keep = answer.keep
            body = answer.take() if answer.pieces else b""
        connection.release(now, keep=keep)
        if status in _FAILURES:
            cluster.ended(instance, True, now - self._began)
            cluster.slots.leave()
        else:
            cluster.served(instance, now, self._began)
        self.downstream.head(status, fields, length, body=body)
        return True

    def head(self, reader: AnswerReader) -> None:
        """The final head came."""
        status = reader.status
        connection = self._connection
        assert connection is not None  # it is what calls
        cluster = self._upstream.cluster
        if status in cluster.retry_statuses and self._may_resend(sent=True):
            self._connection = None
            connection.drop()
            self._again(failed=True)
            return
        if status == 101:
            if not self.upgrade or reader.protocol.lower() != b"websocket":
                connection.drop()
                self.failed(
                    UpstreamError(
                        "http_upgrade_failed", f"101 to {reader.protocol!r}, which nobody asked for"
                    )
                )
                return
            self.tunnel = self._upstream.tunnel(self, connection)
        elif not self._ended and status >= 300:
            self._unwanted = True
            connection.clogged = False
            self.downstream.resume()
        self.answered = True
        self._kept = None
        self._exchange.upstream_seconds = self._upstream.monotonic() - self._began
        self._exchange.fields = reader.fields
        self.downstream.head(status, reader.fields, reader.length)
        if reader.rest and self.tunnel is not None:
            self.tunnel.from_instance(reader.rest)

    def done(self, reader: AnswerReader) -> None:
        """The answer is complete."""
        connection, instance = self._connection, self._instance
        assert connection is not None  # it is what calls
        assert instance is not None
        self.over = True
        self._connection = self._instance = None
        upstream = self._upstream
        now = upstream.monotonic()
        connection.release(now, keep=self._ended and not self._unwanted and reader.keep)
        cluster = upstream.cluster
        cluster.ended(instance, reader.status in _FAILURES, now - self._began)
        cluster.slots.leave()
        self.downstream.end()

    def closed(self) -> None:
        """The tunnel has ended."""
        self.over = True
        self._connection = None
        self._report(failed=False)
        self._upstream.cluster.slots.leave()

    def unclogged(self) -> None:
        """The instance takes more."""
        self.downstream.resume()
        if self._connection is not None and self._ended and not self.answered:
            self._connection.expect(self._upstream.spec.first_byte_timeout)

    def _is_late(self) -> bool:
        """Whether the instance has let the route's time pass; what has no end is never late."""
        if self.tunnel is not None or (self.answered and is_event_stream(self._exchange.fields)):
            return False
        return self._upstream.is_late(self._exchange)
