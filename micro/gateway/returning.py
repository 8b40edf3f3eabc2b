"""The way back of an exchange on the short path: an answer, to the client's connection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from micro.gateway.guard import check_head, filtered, released
from micro.gateway.known import Rendered
from micro.gateway.passage import HEADED, NOTHING, OVER, TUNNEL, Passage
from micro.gateway.pipeline import release
from micro.gateway.refusals import INTERNAL, fail
from micro.web.server.answer import CHUNKED_FIELD, CLOSE_FIELD, LAST_CHUNK, WITHOUT_BODY, chunk, render
from micro.web.server.connection import HELD

if TYPE_CHECKING:
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.answer import KnownAnswer
    from micro.gateway.upstream.ports import UpstreamError

logger = logging.getLogger("micro.gateway")

UNKNOWN = -1
_CONTINUE, _SWITCHING = 100, 101
_CLOSE_LINE = b"connection: close\r\n"
_join = b"".join
_UPGRADE = ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"))


class Returning(Passage):
    """An exchange on a connection, as the `Downstream` of the upstream's `Leg`.

    What comes of an answer within one turn of the event loop leaves as one write. A body must keep to its length; one
    without a length is sent in chunks, or with its length where it is here before its head was sent; to HTTP/1.0 until
    the connection closes. Semantics are those of `http.HttpFlow`, which says them in ASGI.
    """

    __slots__ = ()

    def head(self, status: int, fields: list[Pair], length: int | None, *, body: bytes | None = None) -> None:
        """See `Downstream.head`."""
        answer, pipeline = self.known_answer, self.pipeline
        if body and answer is not None and self._give_known(answer, body):
            return
        if status < 200:
            self._interim(status, fields)
            return
        if self._progress != NOTHING:
            return
        self.status = status
        self.fields = fields.copy()
        try:
            filters = release(self.plan.responses if pipeline is None else pipeline.responses, self)
        except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
            self._spoiled(error)
            return
        if body and length == len(body) and not filters and not (pipeline is not None and pipeline.foreign):
            self._give_whole(body)
            return
        self._filters = filters
        self._left = UNKNOWN if length is None else length
        self._mute = status in WITHOUT_BODY or self.method == "HEAD"
        self._chunked = False
        if filters or status in WITHOUT_BODY:
            self._left = UNKNOWN
            self.fields = [pair for pair in self.fields if pair[0] != b"content-length"]
        self._progress, self._out = HEADED, []
        if body is None:
            self._connection.port.later(self)
            return
        if body:
            self.feed(body)
        self.end()

    def feed(self, data: bytes) -> None:
        """See `Downstream.feed`."""
        progress = self._progress
        if progress == TUNNEL:
            self.sent += len(data)
            self._connection.transport.write(data)
            return
        if progress == OVER or self._mute:
            return
        if self._filters:
            data = self._filtered(data)
        size = len(data)
        if not size:
            return
        self.sent += size
        if self._left != UNKNOWN:
            self._left -= size
            if self._left < 0:
                self._stop("http_response_incomplete")
                return
        if progress == HEADED:
            self._out.append(data)
        else:
            self._connection.transport.write(chunk(data) if self._chunked else data)

    def end(self) -> None:
        """See `Downstream.end`."""
        progress = self._progress
        if progress == OVER:
            return
        if progress == TUNNEL:
            self._finish()
            self._connection.done(False)
            return
        if self._filters and not self._mute and not self._end_filters():
            return
        if self._left > 0 and not self._mute:
            self._stop("http_response_incomplete")
            return
        out = self._out
        if progress == HEADED:
            if self._left == UNKNOWN and not self._mute:
                self._left = 0
                self.fields.append((b"content-length", b"%d" % self.sent))
            if not self._begin():
                return
        if self._chunked:
            out.append(LAST_CHUNK)
        if out:
            self._connection.transport.write(out[0] if len(out) == 1 else b"".join(out))
        self._finish()
        self._connection.done(self._keep)

    def fail(self, error: UpstreamError) -> None:
        """See `Downstream.fail`."""
        if self._progress == OVER:
            return
        if self._progress == TUNNEL:
            logger.info("a tunnel broke off: %s", error)
            self._break_off()
            return
        service = self.pipeline.service if self.pipeline is not None else ""
        logger.error("%s gave no answer, or a part of one: %s", service, error)
        self._stop(error.kind)

    def flush(self) -> None:
        """See `Turn.flush`."""
        if self._progress == HEADED:
            out = self._out
            if self._left == UNKNOWN and not self._mute:
                if self.version == "1.0":
                    self._connection.keep_alive = False
                else:
                    self._chunked = True
                    self.fields.append(CHUNKED_FIELD)
                    out[:] = [chunk(b"".join(out))] if out else []
            if self._begin():
                self._connection.transport.write(b"".join(out))
                out.clear()

    def _give_whole(self, body: bytes) -> None:
        """Most answers: all of the body is here, and nothing changes it."""
        connection, fields = self._connection, self.fields
        keep = connection.reusable()
        if not keep:
            fields.append(CLOSE_FIELD)
        connection.transport.write(render(self.status, fields, connection.port.tail()) + body)
        self.sent = len(body)
        self._finish()
        connection.done(keep)

    def _give_known(self, answer: KnownAnswer, body: bytes) -> bool:
        """The same with a head that the instance has sent before: what is the same in ours is rendered once.

        False where each head has to be made anew.
        """
        connection, pipeline, rendered = self._connection, self.pipeline, answer.extra
        stamp = connection.port.state.default_headers
        if (
            rendered is None
            or rendered.pipeline is not pipeline
            or rendered.stamp is not stamp
            or rendered.scheme is not self.scheme
            or self.trusted
        ):
            if pipeline is None or not pipeline.adding or self.trusted:
                return False
            self.status, self.fields = answer.status, answer.fields.copy()
            rendered = answer.extra = Rendered(self, pipeline, stamp=stamp, tail=connection.port.tail())
        self.status = answer.status
        keep = connection.keep_alive if connection.mode == HELD else connection.reusable()
        tail = rendered.tail if keep else _CLOSE_LINE + rendered.tail
        connection.transport.write(_join((rendered.front, self.quota, self.ids, tail, body)))
        self.sent = len(body)
        self._progress, self.leg = OVER, None  # as `_finish` does, for no policy is asked any more
        self.plan.recorder.record(self, self.plan.ends)
        connection.done(keep)
        return True

    def _interim(self, status: int, fields: list[Pair]) -> None:
        """An answer before the answer (RFC 9110 section 15.2)."""
        if self._progress != NOTHING:
            return
        if status == _SWITCHING:
            self._switch(fields)
            return
        if status == _CONTINUE:
            if self._arrival is None or not self._arrival.expects:
                return
            self._arrival.expects = False
            self._connection.continues()
            return
        if self.version != "1.0":
            self._connection.transport.write(render(status, fields, b"\r\n"))

    def _switch(self, fields: list[Pair]) -> None:
        """The connection becomes a tunnel. Its handshake is the exchange; the deadline was for that."""
        self.status, self.fields = _SWITCHING, fields.copy()
        try:
            released(self, self.plan)
        except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
            self._spoiled(error)
            return
        connection = self._connection
        tail = connection.port.tail()
        connection.transport.write(render(_SWITCHING, [*_UPGRADE, *self.fields], tail))
        self._progress = TUNNEL
        connection.tunnel()

    def _begin(self) -> bool:
        """Put the head in front of what is to be sent; false where that can't be, and something else was sent."""
        pipeline = self.pipeline
        if pipeline is not None and pipeline.foreign:
            try:
                check_head(self)
            except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
                self._spoiled(error)
                return False
        self._put_head()
        return True

    def _filtered(self, data: bytes, *, last: bool = False) -> bytes:
        """`data` as the policies leave it; nothing where one of them fails."""
        try:
            return filtered(self._filters, data, last=last)
        except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
            self._spoiled(error)
            return b""

    def _end_filters(self) -> bool:
        """Let the policies say what comes last; false where one of them fails."""
        data = self._filtered(b"", last=True)
        if data:
            self.sent += len(data)
            if self._progress == HEADED or not self._chunked:
                self._out.append(data)
            else:
                self._out.append(chunk(data))
        return self._progress != OVER

    def _spoiled(self, error: Exception) -> None:
        """A policy failed on the answer. As long as nothing of it was sent, there can be another one."""
        service = self.pipeline.service if self.pipeline is not None else ""
        logger.error("a policy failed on an answer of %s", service, exc_info=error)
        if self._progress == HEADED:
            self._out.clear()
            self.sent = 0
            self._progress = NOTHING
        self._stop(INTERNAL)

    def _stop(self, kind: str) -> None:
        """The answer can't be had, or not to its end."""
        if self._progress == NOTHING:
            self._refuse(fail(self, kind))
            return
        self.error = INTERNAL if kind == INTERNAL else "http_response_incomplete"
        self.flush()
        if self._progress != OVER:
            self._break_off()
