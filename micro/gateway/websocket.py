"""A WebSocket over ASGI: its handshake is an exchange like any other, its messages pass as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.flow import BEGUN, NOTHING_SENT, Flow
from micro.gateway.guard import own_answer, released
from micro.gateway.headers import returned
from micro.gateway.upstream.local import DENIAL
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer
    from micro.gateway.upstream.ports import Message

INTERNAL_ERROR = 1011
NORMAL = 1000
"""Close codes (RFC 6455 section 7.4.1)."""


class WebSocketFlow(Flow):
    """The route's deadline is for the handshake. A refusal is an HTTP answer where the server can send one, else 403.

    When one side is gone the other is told: the client by a close frame, the application by `websocket.disconnect` and,
    if it doesn't end by itself, by being cancelled.
    """

    __slots__ = ()

    async def receive(self) -> Message:
        """See `Flow.receive`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._lose_client()
        return message

    async def send(self, message: Message) -> None:
        """See `Flow.send`."""
        if self._ending:
            return
        kind = message["type"]
        if self._progress == NOTHING_SENT:
            message = self._handshake(kind, message)
        try:
            await self._send(message)
        except OSError:
            self._lose_client()
            return
        if kind == "websocket.close" or (
            kind == "websocket.http.response.body" and not message.get("more_body", False)
        ):
            self._complete()

    async def give(self, answer: Answer) -> None:
        """See `Flow.give`."""
        exchange = self.exchange
        if DENIAL in exchange.scope.get("extensions", ()):
            body = own_answer(answer, exchange, self._plan)
            head = {"status": exchange.status, "headers": exchange.fields}
            await self._send({"type": "websocket.http.response.start", **head})
            await self._send({"type": "websocket.http.response.body", "body": body})
            exchange.sent = len(body)
        else:
            exchange.status, exchange.fields = 403, []
            await self._send({"type": "websocket.close"})
        self._complete()

    async def break_off(self, error: Exception | None) -> None:
        """See `Flow.break_off`."""
        failed = error is not None or bool(self._ending)
        await self._send({"type": "websocket.close", "code": INTERNAL_ERROR if failed else NORMAL})

    def _handshake(self, kind: str, message: Message) -> Message:
        if kind == "websocket.close":
            self.exchange.status = 403
            return message
        if kind not in {"websocket.accept", "websocket.http.response.start"}:
            raise UpstreamError("http_protocol_error", f"{kind} before the handshake")
        exchange = self.exchange
        exchange.status = message.get("status", 101)
        exchange.fields, _ = returned(message.get("headers", ()))
        try:
            released(exchange, self._plan)
        except Exception as error:
            raise self._spoiled(error) from error
        self._progress = BEGUN
        if kind == "websocket.accept":
            self._stop_timing()
        return {**message, "headers": exchange.fields}
