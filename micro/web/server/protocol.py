"""Requests off a connection, one at a time and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.web.problems import Problem
from micro.web.server.answer import CONTINUE
from micro.web.server.chunks import Chunks
from micro.web.server.connection import CHUNKED, DEAF, HEAD, HELD, SIZED, TUNNEL, Connection
from micro.web.server.cycle import Cycle
from micro.web.server.head import NO_BODY, again, check_beginning, glimpsed
from micro.web.server.limits import HIGH_WATER, MAX_DRAINED, MAX_LINE
from micro.web.server.websocket import hand_over

if TYPE_CHECKING:
    from micro.web.server.head import Head
    from micro.web.server.port import Port


_BODY = (SIZED, CHUNKED)


class HttpProtocol(Connection):
    """Reads a request, lets it be answered, reads the next.

    A request is not looked at before the one in front of it is answered: so answers keep their order, and one that can't
    be read takes nothing from those in front of it. What a request costs before it is refused is bounded by `Limits`.
    """

    __slots__ = ("_chunks", "_drained", "_left", "_unasked")

    def __init__(self, port: Port) -> None:
        super().__init__(port)
        self._left = 0
        self._chunks: Chunks | None = None
        self._drained = 0
        self._unasked = False
        """Whether the client may wait for `100 Continue` still."""

    def begin(self, head: Head) -> None:
        """Answer a request: a turn is to be made and kept in `self.turn` first of all."""
        if head.fields.upgrade == b"websocket" and hand_over(self, head):
            return
        cycle = Cycle(self, head)
        self.turn = cycle
        cycle.start(self.port.app)

    def repeat(self, head: Head) -> None:
        """The same for a head without a body that is, byte by byte, the one before."""
        self.begin(head)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        known = self.known
        if known is None or self.mode != HEAD:
            self._take(data)
        elif data == known.whole:
            self.mode = HELD
            self.repeat(known)
        else:
            head = again(data, known)
            if head is None:
                self._read_head(data)
            else:
                self._meet(head)

    def continues(self) -> None:
        """Ask the client for the body that it announced."""
        self._unasked = False
        self.transport.write(CONTINUE)

    def reusable(self) -> bool:
        """Whether another request may follow, as far as is known when the answer's head is written.

        None does where nobody could tell it from the body: a client that was never asked for that may leave it out.
        """
        if self.mode in _BODY and self._unasked:
            return False
        return self.keep_alive and (self.mode != SIZED or self._left <= MAX_DRAINED)

    def done(self, keep: bool) -> None:  # noqa: FBT001 # called for each answer: a name would cost more than most of it
        """The turn has written its answer. `keep`: what `reusable` said when its head was written."""
        self.turn = None
        if not (keep and self.keep_alive):
            self.close()
        elif self.mode != HELD:  # drop what comes of the body
            self._drained = 0
            self.resume_body()
        elif self.kept or self._ended:
            self.port.loop.call_soon(self._next, context=self.port.context)
        else:
            self.mode = HEAD
            self.since = self.port.tick
            if self._paused:
                self.resume_body()

    def tunnel(self) -> None:
        """Give the turn everything that comes from now on."""
        self.mode = TUNNEL
        if self.kept and self.turn is not None:
            data, self.kept = self.kept, b""
            self.turn.body(data)

    def _read_head(self, data: bytes, before: int = 0) -> None:
        """Read a request; `before` bytes of `data` were looked at before."""
        end = data.find(b"\r\n\r\n", max(before - 3, 0)) + 4
        if data[0] == 13:  # empty lines before a request are skipped (RFC 9112 section 2.2)
            data = _without_empty_lines(data)
            end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            self._wait_for_head(data, before)
            return
        if end != len(data):
            data, self.kept = data[:end], data[end:]
        known = self.known
        head = again(data, known) if known is not None else None
        if head is None:
            try:
                if end > self.port.limits.max_head:
                    check_beginning(data, self.port.limits.max_head)
                head = self.port.reader.read(data, self.scheme)
            except Problem as problem:
                self.refuse(problem, glimpsed(data))
                return
        self._meet(head)
        if self.kept and self.mode in _BODY:
            data, self.kept = self.kept, b""
            self._take(data)

    def _meet(self, head: Head) -> None:
        """A head is read: have the request answered."""
        fields = head.fields
        self.known = head if fields.block else None
        self.keep_alive = fields.keep_alive and not self._closing
        if fields.length == NO_BODY:
            self.mode = HELD
        else:
            self._expect_body(fields.length)
            self._unasked = fields.expects
        self.begin(head)

    def _wait_for_head(self, data: bytes, before: int) -> None:
        """A head isn't whole. It is looked at when it begins, and where it gets too long: not with each byte of it."""
        limit = self.port.limits.max_head
        if data and not before:  # empty lines alone are no sign of life
            self.since = self.port.tick
        if not before or len(data) > limit or before <= MAX_LINE < len(data):
            try:
                check_beginning(data, limit)
            except Problem as problem:
                self.refuse(problem, glimpsed(data))
                return
        self.kept, self.known = data, None

    def _expect_body(self, length: int) -> None:
        self._credit = self._patience()
        self._moved = 0
        if length > 0:
            self.mode, self._left = SIZED, length
        else:
            self.mode, self._chunks = CHUNKED, Chunks()

    def _take(self, data: bytes) -> None:
        """What comes behind a head."""
        mode = self.mode
        if mode == SIZED:
            self._take_sized(data)
        elif mode == CHUNKED:
            self._take_chunks(data)
        elif mode == HELD:
            self._hold(data)
        elif mode == TUNNEL and self.turn is not None:
            self.turn.body(data)
        elif mode == HEAD:
            kept, self.kept = self.kept, b""
            self._read_head(kept + data, len(kept))

    def _take_sized(self, data: bytes) -> None:
        size = len(data)
        if size > self._left:
            data, rest = data[: self._left], data[self._left :]
            size = self._left
        else:
            rest = b""
        self._left -= size
        self._piece(data)
        if not self._left:
            self._body_ended(rest)

    def _take_chunks(self, data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None  # the mode says so
        try:
            pieces = chunks.feed(data)
        except Problem as problem:
            self.fail(problem)
            return
        for piece in pieces:
            if self.mode == CHUNKED:
                self._piece(piece)
        if chunks.done:
            self._body_ended(chunks.rest)

    def _piece(self, data: bytes) -> None:
        self._moved += len(data)
        if self.turn is not None:
            self.turn.body(data)
            return
        self._drained += len(data)
        if self._drained > MAX_DRAINED:
            self.close()

    def _body_ended(self, rest: bytes) -> None:
        if self.mode == DEAF:
            return
        self.mode, self._chunks = HELD, None
        if self.turn is not None:
            self.turn.body_end()
        else:
            self.mode = HEAD
            self.since = self.port.tick
        if rest:
            self._take(rest)

    def _hold(self, data: bytes) -> None:
        """Input behind the request in hand."""
        self.kept += data
        if len(self.kept) > HIGH_WATER:
            self.pause_body()

    def _next(self) -> None:
        """Go on with what was held."""
        if self.mode != HELD or self.turn is not None:
            return
        self.mode = HEAD
        self.since = self.port.tick
        self.resume_body()
        data, self.kept = self.kept, b""
        if data:
            self._read_head(data)
        if self._ended and self.mode == HEAD:
            self.transport.close()


def _without_empty_lines(data: bytes) -> bytes:
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    return data[start:]
