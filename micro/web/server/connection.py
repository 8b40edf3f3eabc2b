"""One client's connection: how it opens and ends, and what its time is worth."""

from __future__ import annotations

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any

from micro.web.problems import Problem, problem_response
from micro.web.server.answer import CLOSE_FIELD, render
from micro.web.server.head import glimpsed
from micro.web.server.limits import HALF_CLOSED, LINGER, SLOW_AFTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.web.server.head import Head
    from micro.web.server.port import Port
    from micro.web.server.turn import Turn

# What the next bytes are. Plain numbers: to read a member of an enumeration costs more than a call.
HEAD, SIZED, CHUNKED, HELD, TUNNEL, DEAF = range(6)
"""A head; a body of known size, or in chunks; what comes behind a request that isn't answered yet; anything, for the other
end of a tunnel; nothing that anybody reads."""

_NO_STORE = (b"cache-control", b"no-store")
_RESET = struct.pack("ii", 1, 0)
_LATE = Problem(408, detail="The request did not arrive in time.")
_SLOW = Problem(408, detail="The body comes too slowly.")
_FULL = Problem(503, detail="Too many connections.", headers={"Retry-After": "1"})


class Connection(asyncio.Protocol):
    """Everything about a connection but the reading of requests, which is the subclass's."""

    __slots__ = (
        "_backlog",
        "_closing",
        "_credit",
        "_ended",
        "_moved",
        "_paused",
        "_seen",
        "_slack",
        "blocked",
        "keep_alive",
        "kept",
        "known",
        "mode",
        "peer",
        "port",
        "scheme",
        "server",
        "since",
        "transport",
        "turn",
    )

    transport: asyncio.Transport

    def __init__(self, port: Port) -> None:
        self.port = port
        self.turn: Turn | None = None
        """The request in hand."""
        self.mode = HEAD
        self.peer: tuple[str, int] | None = None
        """Address and port of the client."""
        self.server: tuple[str, int] | None = None
        """Address and port that it connected to."""
        self.scheme = "http"
        self.since = port.tick
        """When it fell idle; or a head, the lingering, or the waiting for a half-closed client's answer began."""
        self.kept = b""
        """Input that nobody has read yet."""
        self.known: Head | None = None
        """The head read last, for as long as it is busy; never while `kept` is a part of another one."""
        self.keep_alive = True
        """Whether another request may follow the one in hand."""
        self._closing = False
        """Whether the server wants the next answer to be the last."""
        self._ended = False
        """Whether the client has closed its half."""
        self._paused = False
        """Whether reading is."""
        self.blocked = False
        """Whether the client takes no more at the moment."""
        self._credit = 0
        """Bytes by which the client may still fall behind its least rate, in sending a body."""
        self._slack = 0
        """The same in taking an answer."""
        self._moved = 0
        """Bytes of body since the last look."""
        self._backlog = 0
        """Bytes that waited for the client at the last look."""
        self._seen = 0
        """What `turn.sent` was at the last look at a half-closed client."""

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost if it were closed."""
        return self.turn is None and self.mode == HEAD and not self.kept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = self.port.outgoing.over(transport)  # type: ignore[assignment,arg-type] # a stream's
        self.peer = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self.port.connections.add(self)
        if not self.port.room.has_place(self):
            self.refuse(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.port.connections.discard(self)
        self.mode, self.kept = DEAF, b""
        self._lose()

    def eof_received(self) -> bool:
        """Called by the event loop when the client has closed its half: it still gets the answer to what it asked."""
        turn = self.turn
        if self.mode == TUNNEL and turn is not None:
            self._ended = True
            turn.body_end()
            return False
        if (
            self.mode != HELD or self.scheme == "https"
        ):  # nothing in hand, or a body broke off; TLS has no half-close
            self.mode = DEAF
            self._lose()
            return False
        self._ended = True
        self.since, self._seen = self.port.tick, turn.sent if turn is not None else 0
        return True

    def pause_writing(self) -> None:
        """Called by the transport."""
        self.blocked = True
        if self.turn is not None:
            self.turn.throttle(blocked=True)

    def resume_writing(self) -> None:
        """Called by the transport."""
        self.blocked = False
        if self.turn is not None:
            self.turn.throttle(blocked=False)

    def pause_body(self) -> None:
        """Let no more of the body come until `resume_body`."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Let the body come again."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self._credit = self._patience()
            self.transport.resume_reading()

    def retire(self) -> None:
        """The next answer is the last one here. Whoever is about to send a request still gets it answered."""
        self._closing, self.keep_alive = True, False

    def shutdown(self) -> None:
        """Called by uvicorn: end as soon as the request in hand is answered."""
        self.retire()
        if self.turn is None and self.mode != DEAF:
            self.mode = DEAF
            self.transport.close()
        elif self.turn is not None and self.mode == TUNNEL:
            self.turn.stop()

    def refuse(self, problem: Problem, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer what can't be read as a request, and close. `headers`: as much of its header as came."""
        request_id = self.port.new_id()
        response = problem_response(problem, request_id)
        fields = [
            *response.raw_headers,
            _NO_STORE,
            *self.port.refusal_fields(headers),
            (b"x-request-id", request_id.encode("ascii")),
        ]
        self.transport.write(
            render(response.status_code, [*fields, CLOSE_FIELD], self.port.tail()) + bytes(response.body)
        )
        self.mode = DEAF
        self.close()

    def close(self) -> None:
        """Close so that the client gets what was written, even where it goes on sending."""
        read_all = self.mode == HELD and not self.kept
        self.mode, self.kept = DEAF, b""
        self.since = self.port.tick
        if read_all or self._ended or not self.transport.can_write_eof():
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()
            self.resume_body()

    def abort(self) -> None:
        """Break the connection off, so that the client notices that something is missing."""
        self.mode = DEAF
        if not self.transport.is_closing():
            connected = self.transport.get_extra_info("socket")
            if connected is not None:  # or an answer that ends with the connection would seem complete
                connected.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self.transport.abort()
        self._lose()

    def leave(self) -> None:
        """Another protocol takes the transport."""
        self.port.connections.discard(self)
        self.mode = DEAF

    def look(self, tick: int) -> None:
        """A second passed."""
        if not self._keeps_pace():
            self.abort()
        elif self.mode == HEAD:
            self._look_at_idle(tick - self.since)
        elif self.mode == DEAF:
            if (
                self.turn is None
                and tick - self.since > LINGER
                and not self.transport.get_write_buffer_size()
            ):
                self.transport.abort()
        elif self._ended:
            self._look_at_half_closed(tick)
        elif self.mode in {SIZED, CHUNKED} and not self._paused:
            self._look_at_body()

    def _look_at_idle(self, seconds: int) -> None:
        limits = self.port.limits
        if self.kept:
            if seconds > limits.head_timeout:
                self.refuse(_LATE, glimpsed(self.kept))
        elif seconds > limits.keep_alive:
            self.transport.close()
        elif seconds:
            self.known = None

    def _look_at_half_closed(self, tick: int) -> None:
        turn = self.turn
        if turn is not None and turn.sent != self._seen:
            self._seen, self.since = turn.sent, tick
        elif tick - self.since > HALF_CLOSED and not self.transport.get_write_buffer_size():
            self.abort()

    def _look_at_body(self) -> None:
        rate = self.port.limits.min_rate
        if rate:
            self._credit = min(self._credit + self._moved - rate, self._patience())
            self._moved = 0
            if self._credit < 0:
                self.fail(_SLOW)

    def _keeps_pace(self) -> bool:
        """Whether the client takes what waits for it, where nothing is added meanwhile: what is missing was taken."""
        rate = self.port.limits.min_rate
        waiting = self.transport.get_write_buffer_size() if self.blocked or self.turn is None else 0
        if not waiting or not rate:
            self._backlog = 0
            return True
        if self._backlog:
            taken = max(self._backlog - waiting, 0)
            self._slack = min(self._slack + taken - rate, self._patience())
        else:
            self._slack = self._patience()
        self._backlog = waiting
        return self._slack >= 0

    def fail(self, problem: Problem) -> None:
        """The body that comes can't be read, or not any further: say so, where no answer has begun."""
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.failed(problem)
        else:
            self.close()

    def _patience(self) -> int:
        return self.port.limits.min_rate * SLOW_AFTER

    def _lose(self) -> None:
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.lost()


def _address(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
