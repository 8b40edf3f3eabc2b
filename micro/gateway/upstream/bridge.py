"""An exchange over the network for who speaks ASGI: both bodies stream, and who sends waits for who receives."""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.direct import Leg
    from micro.gateway.upstream.leg import NetworkLeg
    from micro.gateway.upstream.network import NetworkUpstream
    from micro.gateway.upstream.ports import Message, Receive, Send

HIGH_WATER = 64 << 10
"""Bytes of an answer that wait for the client before the instance has to."""
LOOK = 1.0
"""Seconds after which it is looked whether the client of a request without a body is still there, and after which a
client that waits for `100 Continue` is asked for its body all the same (RFC 9110 section 10.1.1)."""


class Bridge:
    """The client's side of one exchange: a `Downstream` on one end, ASGI's `receive` and `send` on the other.

    Interim answers don't pass: ASGI has no message for them. But it is the instance's 100 that makes `receive` ask a
    client which waits for one.
    """

    __slots__ = (
        "_asker",
        "_clogged",
        "_error",
        "_gone",
        "_head",
        "_open",
        "_over",
        "_pieces",
        "_receive",
        "_send",
        "_size",
        "_wake",
        "leg",
    )

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._pieces: list[bytes] = []
        self._size = 0
        """Bytes in `_pieces`."""
        self._head: Message | None = None
        self._over = False
        self._gone = False
        self._error: BaseException | None = None
        self._wake: asyncio.Future[None] | None = None
        self._clogged = False
        """Whether the instance takes no more at the moment."""
        self._open = asyncio.Event()
        """Set while the instance takes more of the request's body."""
        self._asker: asyncio.Task[None] | None = None
        self.leg: Leg | None = None
        """See `Downstream.leg`."""

    async def run(self, upstream: NetworkUpstream, exchange: Exchange, *, headers: list[Pair] | None) -> None:
        """Send the request and pass the answer on. Raises `UpstreamError`, and what `receive` and `send` raise."""
        body = _expects_body(exchange)
        leg = self.leg = upstream.leg(exchange, self, body=body, headers=headers)
        waits = body and b"expect" in exchange.found
        slot = upstream.wheel.add(self, upstream.monotonic() + LOOK)
        try:
            if not waits:
                self._open.set()
            if body:
                self._ask()
            leg.begin()
            await self._answer(leg)
        finally:
            slot.discard(self)
            leg.cancel()
            if self._asker is not None:
                await ended(self._asker)

    # What the instance's side calls: see `Downstream`.

    def head(self, status: int, fields: list[Pair], length: int | None, *, body: bytes | None = None) -> None:
        """See `Downstream.head`."""
        self._go_on()
        if status >= 200:
            self._head = {"type": "http.response.start", "status": status, "headers": fields.copy()}
            if body:
                self._pieces.append(body)
                self._size += len(body)
            self._over = body is not None
            self._stir()

    def feed(self, data: bytes) -> None:
        """See `Downstream.feed`."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and self.leg is not None:
            self.leg.pause()
        self._stir()

    def end(self) -> None:
        """See `Downstream.end`."""
        self._over = True
        self._stir()

    def fail(self, error: BaseException) -> None:
        """See `Downstream.fail`."""
        self._error = error
        self._stir()

    def pause(self) -> None:
        """See `Throttled.pause`."""
        self._clogged = True
        self._open.clear()

    def resume(self) -> None:
        """See `Throttled.resume`."""
        self._clogged = False
        self._open.set()

    def due(self) -> None:
        """See `Timed.due`."""
        self._go_on()
        self._ask()

    # What happens meanwhile.

    async def _answer(self, leg: NetworkLeg) -> None:
        """Pass on what comes, until all has come or the client is gone."""
        while not self._gone:
            head, self._head = self._head, None
            if head is not None:
                await self._send(head)
            elif self._pieces or self._over:
                last = self._over
                await self._pass_body(leg, last=last)
                if last:
                    return
            elif self._error is not None:
                raise self._error
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake

    async def _pass_body(self, leg: NetworkLeg, *, last: bool) -> None:
        body = b"".join(self._pieces)
        self._pieces.clear()
        paused, self._size = self._size > HIGH_WATER, 0
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})
        if paused:
            leg.resume()

    def _go_on(self) -> None:
        """Wait no longer to be asked for the body; but for an instance that takes no more."""
        if not self._clogged:
            self._open.set()

    def _ask(self) -> None:
        if self._asker is None:
            # In a context of its own: what the server's task knows is nothing to the one that waits for a client.
            self._asker = asyncio.get_running_loop().create_task(self._listen(), context=Variables())

    async def _listen(self) -> None:
        """Pass the request's body on, then wait for the client to leave."""
        leg = self.leg
        assert leg is not None  # it is made first
        try:
            while True:
                await self._open.wait()
                message = await self._receive()
                if message["type"] != "http.request":
                    break
                body = message.get("body", b"")
                if body:
                    leg.feed(body)
                if not message.get("more_body", False):
                    leg.end()
        except Exception as error:  # noqa: BLE001 # it is raised where the exchange is awaited
            self.fail(error)
            return
        leg.cancel()
        self._gone = True
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def ended(task: asyncio.Task[None]) -> None:
    """Return once `task`, which is not wanted any more, has ended."""
    task.cancel()
    await asyncio.wait({task})


def _expects_body(exchange: Exchange) -> bool:
    """Whether a body may come: later versions than HTTP/1.1 need not say so in the header."""
    found = exchange.found
    return (
        found.get(b"content-length", b"0") != b"0"
        or b"transfer-encoding" in found
        or exchange.version > "1.1"
    )
