"""Small writes, kept until the event loop's turn ends and then sent one after the other.

A send to a peer that sleeps wakes it up, which costs more than the send. A peer that serves many connections is woken
once where what it gets comes at once, and not once for each request that the turn has dealt with in between.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 16 << 10
"""Bytes from which on a write is not kept."""


class Outgoing:
    """What the connections of one event loop have to send in this turn."""

    __slots__ = ("_call_soon", "_context", "waiting")

    def __init__(self) -> None:
        self._call_soon: Callable[..., Any] | None = None
        self._context = Context()
        """So that nothing of the request that happens to write first is kept alive, or seen by others."""
        self.waiting: list[KeptTransport] = []
        """Who has something to send; where there is nobody yet, `begin` is to be called."""

    def over(self, transport: asyncio.Transport) -> KeptTransport:
        """`transport`, with this in front of it."""
        return KeptTransport(transport, self)

    def begin(self) -> None:
        """The first of a turn has something to send."""
        if self._call_soon is None:
            self._call_soon = asyncio.get_running_loop().call_soon
        self._call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for transport in waiting:
            data = transport.kept
            if data:
                transport.kept = b""
                send = transport.send  # what a slot holds is called faster by a name
                try:
                    send(data)
                except Exception as error:  # noqa: BLE001 # whatever it is, the others get theirs
                    transport.unsent(error)


class KeptTransport:
    """A transport that keeps small writes until the turn ends. What was written leaves in order, and before the end.

    Back-pressure is the real transport's: it is told of all that doesn't leave at once.
    """

    __slots__ = ("_outgoing", "_transport", "is_closing", "kept", "send")

    def __init__(self, transport: asyncio.Transport, outgoing: Outgoing) -> None:
        self._transport = transport
        self._outgoing = outgoing
        self.kept = b""
        self.send = transport.write
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send `data` when the turn ends, or at once where it is large."""
        kept = self.kept
        if kept:
            data = kept + data
        elif len(data) < SMALL:
            self.kept = data
            waiting = self._outgoing.waiting
            if not waiting:
                self._outgoing.begin()
            waiting.append(self)
            return
        if len(data) < SMALL:
            self.kept = data
        else:  # not later: whoever sends it is to learn at once that the other side is slow
            self.kept = b""
            if not self.is_closing():  # a closed uvloop transport raises
                self.send(data)

    def writelines(self, data: list[bytes]) -> None:
        """Send all of `data`."""
        self.write(b"".join(data))

    def flush(self) -> None:
        """Send now what was kept."""
        data = self.kept
        if data:
            self.kept = b""
            if not self.is_closing():
                self.send(data)

    def unsent(self, error: Exception) -> None:
        """What was kept could not be sent, so nothing may follow it."""
        if isinstance(error, RuntimeError) and self.is_closing():
            return  # that is all uvloop says: the other side has closed it meanwhile
        what = {"message": "a connection is broken off: it can't be sent to", "exception": error}
        asyncio.get_running_loop().call_exception_handler(what)
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be taken."""
        return self._transport.get_write_buffer_size() + len(self.kept)

    def write_eof(self) -> None:
        """Send what was kept, and that nothing follows."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was kept, then close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Send what was kept as far as it goes out at once, and break off."""
        self.flush()
        self._transport.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Send what was kept, then hand the connection over."""
        self.flush()
        self._transport.set_protocol(protocol)

    # Everything else is the real transport's. Not by `__getattr__`: with it, every look at an attribute costs more.

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport.can_write_eof`."""
        return self._transport.can_write_eof()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport.get_extra_info`."""
        return self._transport.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport.get_protocol`."""
        return self._transport.get_protocol()

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport.is_reading`."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport.pause_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport.resume_reading`."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport.set_write_buffer_limits`."""
        self._transport.set_write_buffer_limits(high, low)
