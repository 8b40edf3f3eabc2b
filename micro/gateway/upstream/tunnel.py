"""A WebSocket on the short path: bytes pass both ways as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.upstream.frames import GOING_AWAY, SERVICE_RESTART, FrameWatch, close_frame
from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from micro.gateway.upstream.connection import Connection
    from micro.gateway.upstream.leg import NetworkLeg

CLOSING = 10.0
"""Seconds that the instance has to close the connection after both close frames."""


class Tunnel:
    """Ends when one side does. A message that is too long ends it with 1009; silence for `read_timeout`, with 1001.

    Where it ends by itself both sides get a close frame, unless they are in the middle of another frame.
    """

    __slots__ = ("_connection", "_leg", "_patience", "_received", "_sent")

    def __init__(self, leg: NetworkLeg, connection: Connection, *, patience: float) -> None:
        self._leg = leg
        self._connection = connection
        self._patience = patience
        self._sent = FrameWatch()
        """What goes to the instance."""
        self._received = FrameWatch()
        """What comes from it."""

    def from_instance(self, data: bytes) -> None:
        """Bytes for the client."""
        passed = self._received.feed(data)
        self._wait()
        if passed:
            self._leg.downstream.feed(passed)
        if self._received.code:
            self._end(self._received.code)

    def from_client(self, data: bytes) -> None:
        """Bytes for the instance."""
        if self._leg.over:
            return
        passed = self._sent.feed(data)
        if not self._connection.clogged:
            self._wait()
        self._connection.transport.write(passed)
        if self._sent.code:
            self._end(self._sent.code)

    def silent(self) -> None:
        """Nothing has come for too long."""
        self._end(GOING_AWAY)

    def close(self) -> None:
        """The gateway stops; clients learn it by the same code that uvicorn gives to those of an application."""
        self._end(SERVICE_RESTART)

    def lost(self, error: Exception | None) -> None:
        """The instance has closed the connection."""
        self._leg.closed()
        if error is None:
            self._leg.downstream.end()
        else:
            self._leg.downstream.fail(
                UpstreamError("connection_terminated", f"the WebSocket broke off: {error}")
            )

    def client_left(self) -> None:
        """The client has closed its connection: so the instance's is closed, when it has what was sent."""
        if not self._leg.over:
            self._hang_up()

    def _wait(self) -> None:
        over = self._sent.closing and self._received.closing
        self._connection.expect(CLOSING if over else self._patience)

    def _end(self, code: int) -> None:
        """Close both sides."""
        leg = self._leg
        if leg.over:
            return
        if self._sent.between and not self._sent.closing:
            self._connection.transport.write(close_frame(code, masked=True))
        self._hang_up()
        if self._received.between and not self._received.closing:
            leg.downstream.feed(close_frame(code, masked=False))
        leg.downstream.end()

    def _hang_up(self) -> None:
        self._connection.hang_up()
        self._leg.closed()
