"""An HTTP request over ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.gateway.flow import BEGUN, CLIENT_SLOW, COMPLETE, NOTHING_SENT, TIMED_OUT, TOO_LARGE, Flow
from micro.gateway.guard import filtered, own_answer, released
from micro.gateway.headers import length_of, returned
from micro.gateway.policies.limits import too_large
from micro.gateway.upstream.ports import UpstreamError
from micro.web.server.turn import PROBLEM, BrokenOff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import BodyFilter
    from micro.gateway.plan import Plan
    from micro.gateway.upstream.ports import Message, Receive, Send

_UNKNOWN = -1
_WITHOUT_BODY = frozenset({204, 304})
TELLS_OF_LEAVING = "2.4"
"""The ASGI version from which on `send` raises `OSError` when the client is gone."""


class HttpFlow(Flow):
    """Streams both bodies message by message; nothing is gathered, and who sends waits for who receives.

    A body is counted while it comes, and ends in a 413 when it grows too large. An answer must keep to its
    `Content-Length`; one that breaks off, breaks the client's connection off.
    """

    __slots__ = ("_filters", "_length", "_mute")

    # Set by the head of the answer, before a piece of its body comes.
    _filters: Sequence[BodyFilter]
    _length: int
    _mute: bool
    """Whether the answer has no body: HEAD, 204, 304."""

    async def receive(self) -> Message:
        """See `Flow.receive`."""
        if self._ending or self._progress == COMPLETE:
            return {"type": "http.disconnect"}
        self._waiting = True
        try:
            message = await (self._receive() if self._pending is None else asyncio.shield(self._pending))
        finally:
            self._waiting = False
        self._pending = None
        if message["type"] != "http.request":
            self._lose_client(message.get(PROBLEM))
            return message
        self._whole = not message.get("more_body", False)
        exchange = self.exchange
        exchange.received += len(message.get("body", b""))
        if exchange.received > exchange.body_limit:
            return await self._overflow()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """See `Flow.send`. Not a coroutine function itself: the server's own awaitable is one frame less."""
        if self._ending:
            return _nothing()
        kind, progress = message["type"], self._progress
        if progress == BEGUN and kind == "http.response.body":
            last = not message.get("more_body", False)
            if self._mute or self._filters:
                message = self._changed(message, last=last)
            exchange = self.exchange
            exchange.sent = sent = exchange.sent + len(message.get("body", b""))
            length = self._length
            if length != _UNKNOWN and (sent > length or (last and sent < length)):
                raise UpstreamError("http_response_incomplete", "the body's length is not its Content-Length")
            if last:
                self._complete()
        elif progress == NOTHING_SENT and kind == "http.response.start":
            message = self._head(message)
            self._progress = BEGUN
        else:
            raise UpstreamError("http_protocol_error", f"{kind} does not follow")
        return self._send(message)

    async def give(self, answer: Answer) -> None:
        """See `Flow.give`."""
        exchange = self.exchange
        body = own_answer(answer, exchange, self._plan)
        fields = [pair for pair in exchange.fields if pair[0] != b"content-length"]
        if exchange.status not in _WITHOUT_BODY:
            fields.append((b"content-length", b"%d" % len(body)))
        body = b"" if exchange.method == "HEAD" else body
        exchange.sent = len(body)
        await self._send({"type": "http.response.start", "status": exchange.status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
        self._complete()

    async def break_off(self, error: Exception | None) -> None:
        """See `Flow.break_off`."""
        raise BrokenOff("the answer can't be completed; the reason is logged by micro.gateway")

    def look(self) -> None:
        """Ask for the next message ahead of the upstream: it may say that the client left.

        Not where the client waits to be asked for the body (`Expect: 100-continue`).
        """
        if self._pending is None and not self._waiting and b"expect" not in self.exchange.found:
            self._pending = asyncio.ensure_future(self._receive())
            self._pending.add_done_callback(self._noticed)

    def lateness(self) -> int:
        """See `Flow.lateness`."""
        return CLIENT_SLOW if self._waiting and not self._whole else TIMED_OUT

    def _noticed(self, pending: asyncio.Future[Message]) -> None:
        if pending.cancelled():
            return
        if pending.exception() is not None:
            self._lose_client()
        elif pending.result()["type"] != "http.request":
            self._lose_client(pending.result().get(PROBLEM))

    async def _overflow(self) -> Message:
        self._ending = TOO_LARGE
        if self._progress == NOTHING_SENT:
            await self.give(too_large(self.exchange))
        self._give_grace()
        return {"type": "http.disconnect"}

    def _head(self, message: Message) -> Message:
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise UpstreamError("http_protocol_error", f"{status!r} is no final status")
        exchange = self.exchange
        exchange.fields, length = returned(message.get("headers", ()))
        self._length = _UNKNOWN if length is None else _declared(length)
        exchange.status = status
        self._mute = exchange.method == "HEAD" or status in _WITHOUT_BODY
        try:
            self._filters = released(exchange, self._plan)
        except Exception as error:
            raise self._spoiled(error) from error
        if self._mute or self._filters:
            self._length = _UNKNOWN
            if self._filters or status in _WITHOUT_BODY:
                exchange.fields = [pair for pair in exchange.fields if pair[0] != b"content-length"]
        return {"type": "http.response.start", "status": status, "headers": exchange.fields}

    def _changed(self, message: Message, *, last: bool) -> Message:
        body = b""
        if not self._mute:
            try:
                body = filtered(self._filters, message.get("body", b""), last=last)
            except Exception as error:
                raise self._spoiled(error) from error
        return {"type": "http.response.body", "body": body, "more_body": not last}


class TellingHttpFlow(HttpFlow):
    """The same under a server whose `send` tells by an `OSError` that the client is gone."""

    __slots__ = ("_raw_send",)

    def __init__(self, plan: Plan, exchange: Exchange, receive: Receive, send: Send) -> None:
        super().__init__(plan, exchange, receive, self._guarded)
        self._raw_send = send

    async def _guarded(self, message: Message) -> None:
        try:
            await self._raw_send(message)
        except OSError:
            self._lose_client()


async def _nothing() -> None:
    """What `send` gives where nothing is to be sent."""


def _declared(length: bytes) -> int:
    number = length_of(length)
    if number is None:
        raise UpstreamError("http_protocol_error", f"{length!r} is no Content-Length")
    return number
