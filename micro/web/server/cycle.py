"""One request answered by an ASGI application (https://asgi.readthedocs.io/en/stable/specs/www.html)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from micro.web.problems import Problem
from micro.web.server.answer import (
    CHUNKED_FIELD,
    CLOSE_FIELD,
    LAST_CHUNK,
    WITHOUT_BODY,
    InvalidField,
    check,
    check_name,
    chunk,
    render,
)
from micro.web.server.limits import HIGH_WATER
from micro.web.server.scope import scope_of
from micro.web.server.turn import PROBLEM, BrokenOff

if TYPE_CHECKING:
    from micro.web.server.head import Head
    from micro.web.server.protocol import HttpProtocol

logger = logging.getLogger("micro.web.server")

_FAILED = Problem(500)
_UNKNOWN = -1
# How far the answer is. `_HEADED`: the application has given the head, and nothing of it was sent.
_NOTHING, _HEADED, _BEGUN, _COMPLETE, _OVER = range(5)


class Cycle:
    """A turn by the port's application, in a task of its own. The body streams in both directions.

    The head of an answer waits for the first piece of its body until the event loop's turn ends, so that both leave as
    one. A body must keep to its `Content-Length`. One without a length is sent in chunks, or with its length where it
    came in one piece; to a client of HTTP/1.0 until the connection closes. What an application sends after its client
    left is dropped.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_expects",
        "_fields",
        "_keep",
        "_left",
        "_mute",
        "_news",
        "_out",
        "_problem",
        "_state",
        "_status",
        "_told",
        "_version",
        "_whole",
        "_writable",
        "scope",
        "sent",
    )

    def __init__(self, connection: HttpProtocol, head: Head) -> None:
        self._connection = connection
        self.scope = scope_of(connection, head)
        self.sent = 0
        self._version = head.version
        self._expects = head.fields.expects
        self._whole = not head.fields.length
        """Whether the body has come to its end."""
        self._body = bytearray()
        self._told = False
        """Whether the application knows the end of the body."""
        self._problem: Problem | None = None
        """What was wrong with the body, and the client was told."""
        self._news: asyncio.Event | None = None
        self._writable = asyncio.Event() if connection.blocked else None
        self._state = _NOTHING
        self._status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._out: list[bytes] = []
        self._mute = False
        """Whether the answer has no body: HEAD, 204, 304."""
        self._chunked = False
        self._left = _UNKNOWN
        self._keep = False

    def start(self, app: Any) -> None:
        """Begin."""
        port = self._connection.port
        task = port.loop.create_task(self._run(app))
        port.tasks.add(task)
        task.add_done_callback(port.tasks.discard)

    def body(self, data: bytes) -> None:
        """See `Turn.body`."""
        self._body += data
        if len(self._body) > HIGH_WATER:
            self._connection.pause_body()
        self._tell()

    def body_end(self) -> None:
        """See `Turn.body_end`."""
        self._whole = True
        self._tell()

    def lost(self) -> None:
        """See `Turn.lost`."""
        self._state = _OVER
        self._tell()
        self.throttle(blocked=False)

    def failed(self, problem: Problem) -> None:
        """See `Turn.failed`."""
        begun = self._state in {_BEGUN, _HEADED}
        self._problem = problem
        self.lost()
        if begun:
            self._connection.abort()
        else:
            self._connection.refuse(problem, self.scope["headers"])

    def stop(self) -> None:
        """See `Turn.stop`: there are no tunnels here."""

    def throttle(self, *, blocked: bool) -> None:
        """See `Turn.throttle`."""
        if blocked:
            self._writable = asyncio.Event()
        elif self._writable is not None:
            self._writable.set()
            self._writable = None

    def flush(self) -> None:
        """See `Turn.flush`."""
        if self._state == _HEADED:
            self._write_head()
        if self._out and self._state < _OVER:
            self._connection.transport.write(b"".join(self._out))
            self._out.clear()

    async def receive(self) -> dict[str, Any]:
        """ASGI's `receive`."""
        if self._expects and self._state == _NOTHING:
            self._expects = False
            self._connection.continues()
        while self._state < _COMPLETE and not self._body and (self._told or not self._whole):
            self._connection.resume_body()
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
        if self._state >= _COMPLETE:
            gone: dict[str, Any] = {"type": "http.disconnect"}
            return gone if self._problem is None else {**gone, PROBLEM: self._problem}
        self._told = self._whole
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": not self._whole}

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI's `send`."""
        if self._writable is not None:
            await self._writable.wait()
        state, kind = self._state, message["type"]
        if state == _OVER:
            return
        if kind == "http.response.start" and state == _NOTHING:
            self._start(message)
        elif kind == "http.response.body" and state in {_HEADED, _BEGUN}:
            self._piece(message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"an ASGI message of the type {kind!r} does not follow")

    async def _run(self, app: Any) -> None:
        try:
            result = await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._give_up()
            raise
        except BrokenOff:
            self._give_up()
        except BaseException:  # whatever an application raises has one answer
            logger.exception("the application failed at %s", self.scope["path"])
            self._give_up()
        else:
            if result is not None:
                logger.error("the application returned %r instead of None", result)
                self._give_up()
            elif self._state < _COMPLETE:
                logger.error("the application returned without a whole answer to %s", self.scope["path"])
                self._give_up()

    def _give_up(self) -> None:
        """No answer, or no more of it, comes from the application."""
        state = self._state
        if state < _COMPLETE:
            self._state = _OVER
            self._connection.turn = None
            if state == _NOTHING:
                self._connection.refuse(_FAILED, self.scope["headers"])
            else:
                self._connection.abort()

    def _start(self, message: dict[str, Any]) -> None:
        status, fields = message["status"], []
        if not 200 <= status <= 599:
            raise RuntimeError(f"{status} is no final status")
        for name, value in message.get("headers", ()):
            key = name.lower()
            check_name(key)
            if key == b"content-length" and status != 204 and self._left == _UNKNOWN:
                self._left = _number(value)
            elif key in {b"transfer-encoding", b"content-length"}:  # the server's to say
                continue
            elif key == b"connection" and b"close" in value.lower():
                self._connection.keep_alive = False
                continue
            fields.append((key, value))
        check(fields)
        self._status, self._fields = status, fields
        self._mute = self.scope["method"] == "HEAD" or status in WITHOUT_BODY
        self._state = _HEADED
        self._connection.port.later(self)

    def _piece(self, data: bytes, *, last: bool) -> None:
        size = 0 if self._mute else len(data)
        if self._left == _UNKNOWN and last and self._state == _HEADED and not self._mute:
            self._left = size
            self._fields.append((b"content-length", b"%d" % size))
        self.sent += size
        if self._left != _UNKNOWN and not self._mute:
            self._left -= size
            if self._left < 0 or (last and self._left):
                raise RuntimeError("the body's length is not its Content-Length")
        headed = self._state == _HEADED
        if headed:
            self._write_head()
        if size:
            self._out.append(chunk(data) if self._chunked else bytes(data))
        if last and self._chunked:
            self._out.append(LAST_CHUNK)
        if last or not headed:
            self.flush()
        if last:
            self._complete()

    def _write_head(self) -> None:
        connection, fields = self._connection, self._fields
        if self._left == _UNKNOWN and not self._mute:
            if self._version == "1.0":
                connection.keep_alive = False
            else:
                self._chunked = True
                fields.append(CHUNKED_FIELD)
        self._keep = connection.reusable()
        if not self._keep:
            fields.append(CLOSE_FIELD)
        dated = any(name == b"date" for name, _ in fields)
        tail = b"\r\n" if dated else connection.port.tail()
        self._out.append(render(self._status, fields, tail))
        self._state = _BEGUN

    def _complete(self) -> None:
        self._state = _COMPLETE
        self._tell()
        self._connection.done(self._keep)

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


def _number(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise InvalidField(f"{value!r} is no Content-Length")
    return int(value)
