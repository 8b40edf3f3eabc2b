"""A WebSocket over the network for who speaks ASGI: the gateway is a client of the instance, message by message.

Masks, pings and the closing handshake on that side are the `websockets` library's. Extensions are not offered: the
client's server has its own, and a message is whole when it comes from there.
"""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Any

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Protocol, Side, State
from websockets.uri import parse_uri

from micro.gateway.upstream.bridge import HIGH_WATER, ended
from micro.gateway.upstream.frames import MAX_MESSAGE
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.direct import Leg
    from micro.gateway.upstream.leg import NetworkLeg
    from micro.gateway.upstream.network import NetworkUpstream
    from micro.gateway.upstream.ports import Message, Receive, Send

_HANDSHAKE = b"sec-websocket-"
_DENIAL = "websocket.http.response"
_NOT_TEXT = 1007
_UNSAYABLE = frozenset({1005, 1006, 1015})
"""Close codes that no frame carries (RFC 6455 section 7.4.1)."""


class SocketBridge:
    """The client's side of one WebSocket: a `Downstream` on one end, ASGI's `receive` and `send` on the other.

    When one side closes, the other is told code and reason; when one is gone, the other is closed. An instance's refusal
    of the handshake passes as it is where the server can send it (`websocket.http.response`), else as a 403.
    """

    __slots__ = (
        "_accepted",
        "_denied",
        "_error",
        "_exchange",
        "_messages",
        "_open",
        "_opening",
        "_over",
        "_parts",
        "_protocol",
        "_receive",
        "_send",
        "_size",
        "_wake",
        "leg",
    )

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        wanted = exchange.scope.get("subprotocols") or None
        self._opening = ClientProtocol(parse_uri("ws://instance/"), subprotocols=wanted)
        """The handshake; its head is the leg's to send and to read."""
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=MAX_MESSAGE)
        """What follows."""
        self._messages: list[Message] = []
        """For the client."""
        self._size = 0
        self._parts: list[Frame] = []
        """Of a message that is not complete."""
        self._accepted = False
        self._denied = False
        self._over = False
        self._error: BaseException | None = None
        self._open = asyncio.Event()
        """Set while the instance takes more."""
        self._wake = asyncio.Event()
        self.leg: Leg | None = None
        """See `Downstream.leg`."""

    async def run(self, upstream: NetworkUpstream, headers: list[Pair] | None) -> None:
        """Shake hands, then pass messages until one side ends. Raises `UpstreamError`, and what the server raises."""
        await self._receive()  # websocket.connect
        exchange = self._exchange
        if headers is None:
            exchange.headers = self._handshake(exchange.headers)
        else:
            headers = self._handshake(headers)
        leg = self.leg = upstream.leg(exchange, self, body=False, headers=headers)
        leg.upgrade = True
        listener = asyncio.get_running_loop().create_task(self._listen(leg), context=Variables())
        try:
            leg.begin()
            await self._tell()
        finally:
            leg.end()  # what was sent last still goes out
            leg.cancel()
            await ended(listener)

    # What the instance's side calls: see `Downstream`.

    def head(self, status: int, fields: list[Pair], length: int | None, *, body: bytes | None = None) -> None:
        """See `Downstream.head`."""
        if status == 101:
            self._accept(fields)
        elif status >= 200:
            self._denied = True
            self._queue({"type": f"{_DENIAL}.start", "status": status, "headers": fields.copy()})
            if body:
                self.feed(body)
            if body is not None:
                self.end()

    def feed(self, data: bytes) -> None:
        """See `Downstream.feed`."""
        if self._denied:
            self._queue({"type": f"{_DENIAL}.body", "body": data, "more_body": True}, len(data))
            return
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._read(event)
        self._flush()
        if protocol.parser_exc is not None:
            self.fail(UpstreamError("http_protocol_error", f"malformed WebSocket: {protocol.parser_exc}"))

    def end(self) -> None:
        """See `Downstream.end`."""
        if self._denied:
            self._queue({"type": f"{_DENIAL}.body", "body": b"", "more_body": False})
        elif self._protocol.close_rcvd is None:
            self.fail(UpstreamError("connection_terminated", "the instance left without a close frame"))
        self._over = True
        self._wake.set()

    def fail(self, error: UpstreamError) -> None:
        """See `Downstream.fail`."""
        self._error = self._error or error
        self._wake.set()

    def pause(self) -> None:
        """See `Throttled.pause`."""
        self._open.clear()

    def resume(self) -> None:
        """See `Throttled.resume`."""
        self._open.set()

    # The handshake.

    def _handshake(self, headers: Any) -> list[Pair]:
        own = self._opening.connect().headers
        asked = [(name.lower().encode(), value.encode()) for name, value in own.raw_items()]
        return [
            *(pair for pair in headers if not pair[0].startswith(_HANDSHAKE)),
            *(pair for pair in asked if pair[0].startswith(_HANDSHAKE)),
        ]

    def _accept(self, fields: list[Pair]) -> None:
        said = Headers([(name.decode(), value.decode("latin-1")) for name, value in fields])
        said["Connection"], said["Upgrade"] = "Upgrade", "websocket"  # the leg has seen to them
        try:
            self._opening.process_response(Response(101, "", said))
        except InvalidHandshake as error:
            self.fail(UpstreamError("http_upgrade_failed", str(error)))
            return
        self._accepted = True
        self._open.set()
        rest = [pair for pair in fields if not pair[0].startswith(_HANDSHAKE)]
        self._queue({"type": "websocket.accept", "subprotocol": self._opening.subprotocol, "headers": rest})

    # From the instance to the client.

    def _read(self, frame: Frame) -> None:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            self._parts.append(frame)
            if frame.fin:
                self._assemble()
        elif frame.opcode is Opcode.CLOSE:
            said = self._protocol.close_rcvd
            assert said is not None  # it has just been read
            code = 1000 if said.code in _UNSAYABLE else int(said.code)
            self._queue({"type": "websocket.close", "code": code, "reason": said.reason})
            self._over = True

    def _assemble(self) -> None:
        kind = self._parts[0].opcode
        data = b"".join([bytes(part.data) for part in self._parts])
        self._parts.clear()
        try:
            message = {"text": data.decode()} if kind is Opcode.TEXT else {"bytes": data}
        except UnicodeDecodeError:
            self._protocol.fail(_NOT_TEXT)
            self.fail(UpstreamError("http_protocol_error", "a text message that is not UTF-8"))
        else:
            self._queue({"type": "websocket.send", **message}, len(data))

    def _queue(self, message: Message, size: int = 0) -> None:
        self._messages.append(message)
        self._size += size
        if self._size > HIGH_WATER and self.leg is not None:
            self.leg.pause()
        self._wake.set()

    async def _tell(self) -> None:
        """Send the client what comes, until one side has ended."""
        deniable = _DENIAL in self._exchange.scope.get("extensions", ())
        while True:
            self._wake.clear()
            messages, self._messages = self._messages, []
            paused, self._size = self._size > HIGH_WATER, 0
            for message in messages:
                if not self._denied or deniable:
                    await self._send(message)
            if paused and self.leg is not None:
                self.leg.resume()
            if self._messages:
                continue
            if self._error is not None:
                raise self._error
            if self._over:
                if self._denied and not deniable:
                    await self._send({"type": "websocket.close"})
                return
            await self._wake.wait()

    # From the client to the instance.

    async def _listen(self, leg: NetworkLeg) -> None:
        try:
            while True:
                message = await self._receive()
                if message["type"] != "websocket.receive":
                    break
                await self._open.wait()
                self._pass_on(message)
        except Exception as error:  # noqa: BLE001 # it is raised where the WebSocket is awaited
            self._error = error
            self._wake.set()
            return
        if self._accepted and self._protocol.state is State.OPEN:
            code = message.get("code", 1000)
            if code in _UNSAYABLE:
                self._protocol.send_close()
            else:
                self._protocol.send_close(code, message.get("reason") or "")
            self._flush()
        leg.end()
        self._over = True
        self._wake.set()

    def _pass_on(self, message: Message) -> None:
        if self._protocol.state is not State.OPEN:
            return
        text = message.get("text")
        if text is not None:
            self._protocol.send_text(text.encode())
        else:
            self._protocol.send_binary(message.get("bytes") or b"")
        self._flush()

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data and self.leg is not None:
            self.leg.feed(data)
