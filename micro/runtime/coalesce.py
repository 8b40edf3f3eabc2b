"""uvicorn's HTTP protocol, with the pieces of an answer sent together.

uvicorn writes the head and the body of an answer one after the other, each a system call and a packet. What is written
within one turn of the event loop leaves here as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio


class CoalescingTransport:
    """A transport that keeps what is written until the turn of the event loop ends, or the connection does.

    Back-pressure is the real transport's: it holds more than a turn's worth itself, and tells the protocol so.
    """

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send `data` with whatever else is written in this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def writelines(self, data: list[bytes]) -> None:
        """Send all of `data` with whatever else is written in this turn."""
        self.write(b"".join(data))

    def flush(self) -> None:
        """Send what was kept, where the connection still stands."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Send what was kept, then close."""
        self.flush()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Send what was kept, then hand the connection over (to a WebSocket)."""
        self.flush()
        self._transport.set_protocol(protocol)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)


class CoalescingProtocol(HttpToolsProtocol):
    """`HttpToolsProtocol` on a `CoalescingTransport`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn narrows it, too
        """Called by the event loop with a new connection."""
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type] # quacks like one
