"""One exchange on its way to an instance, as the client's side and the connection see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.headers import is_event_stream
from micro.gateway.upstream.attempts import Attempts
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.retry import IDEMPOTENT
from micro.gateway.upstream.upload import LAST_CHUNK

if TYPE_CHECKING:
    from micro.gateway.upstream.answer import AnswerReader

FAILURES = frozenset({502, 503, 504})
"""Answers that speak against an instance."""


class NetworkLeg(Attempts):
    """See `direct.Leg`."""

    __slots__ = ()

    # The client's side.

    def feed(self, data: bytes) -> None:
        """See `Leg.feed`."""
        upload, connection = self._upload, self._connection
        if self.tunnel is not None:
            self.tunnel.from_client(data)
        elif upload is not None and not self.over and not upload.unwanted:
            repeatable = self._exchange.method in IDEMPOTENT
            if upload.keep(data, waiting=connection is None, repeatable=repeatable) and not upload.paused:
                upload.paused = True
                self.downstream.pause()
            if connection is not None:
                connection.transport.write(upload.framed(data))

    def end(self) -> None:
        """See `Leg.end`."""
        upload, connection = self._upload, self._connection
        if self.tunnel is not None:
            self.tunnel.client_left()
        elif upload is not None and not upload.ended:
            upload.ended = True
            if connection is not None and not upload.unwanted:
                if upload.chunked:
                    connection.transport.write(LAST_CHUNK)
                if not self.answered:
                    connection.awaiting, connection.downstream = self._exchange, self.downstream
                    if not connection.clogged:
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
        if not slots.withdraw(self):
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

    def answered_at_once(self) -> None:
        """The whole answer has come at once: the connection has told the client's side, and is done with it."""
        self.over = self.answered = True
        self._connection = self._instance = None

    def head(self, reader: AnswerReader) -> None:
        """The final head came."""
        status, upload = reader.status, self._upload
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
        elif upload is not None and not upload.ended and status >= 300:
            upload.unwanted = True
            connection.clogged = False
            self.downstream.resume()
        self.answered = True
        if upload is not None:
            upload.kept = None
        self._exchange.upstream_seconds = self._upstream.clock.monotonic() - self._exchange.began
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
        upstream, upload = self._upstream, self._upload
        now, began = upstream.clock.monotonic(), self._exchange.began
        sent = upload is None or (upload.ended and not upload.unwanted)
        failed = reader.status in FAILURES
        connection.finish(now, keep=sent and reader.keep)
        upstream.cluster.ended(instance, failed, now - began)
        upstream.cluster.slots.leave()
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
        sent = self._upload is None or self._upload.ended
        if self._connection is not None and sent and not self.answered:
            self._connection.expect(self._upstream.spec.first_byte_timeout)

    def _is_late(self) -> bool:
        """Whether the instance has let the route's time pass; what has no end is never late."""
        if self.tunnel is not None or (self.answered and is_event_stream(self._exchange.fields)):
            return False
        return self._upstream.is_late(self._exchange)
