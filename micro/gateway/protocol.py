"""The adapter `protocol`: requests straight from the client's connection to an upstream that has a short path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.deadlines import Deadline
from micro.gateway.exchange import Answer
from micro.gateway.pipeline import Way
from micro.gateway.transit import Transit
from micro.web.server.cycle import Cycle
from micro.web.server.protocol import HttpProtocol
from micro.web.server.websocket import hand_over

if TYPE_CHECKING:
    from micro.gateway.app import Gateway
    from micro.gateway.pipeline import Verdict
    from micro.web.server.head import HeadReader
    from micro.web.server.port import Port


class GatewayProtocol(HttpProtocol):
    """Admits requests itself. One whose upstream has no short path goes to the gateway's application, admitted as it is:
    no policy sees it twice.
    """

    __slots__ = ("_gateway", "deadline")

    def __init__(self, port: Port, gateway: Gateway) -> None:
        super().__init__(port)
        self._gateway = gateway
        self.deadline = Deadline(gateway.plan.wheel)
        """Of the request in hand."""

    def begin(self, head: HeadReader) -> None:
        """See `HttpProtocol.begin`."""
        plan = self._gateway.plan
        if not plan.short:
            super().begin(head)
            return
        transit = Transit(self, plan, head)
        self.turn = transit
        fields = head.fields
        way = fields.way
        if way is None or way.plan is not plan:
            verdict = transit.admitted()
            pipeline = transit.pipeline
            if verdict is None and fields.head and pipeline is not None and transit.method != "OPTIONS":
                fields.way = Way(transit, pipeline, plan)
        else:
            verdict = transit.admitted(way)
            pipeline = transit.pipeline
        direct = pipeline is not None and pipeline.direct is not None
        if verdict is None and direct:
            transit.start()
        elif isinstance(verdict, Answer):
            transit.give(verdict)
        elif verdict is not None and direct:
            transit.wait(verdict)
        else:
            self._pass_on(transit, verdict, head)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Connection.connection_lost`."""
        super().connection_lost(exc)
        self.deadline.close()

    def _pass_on(self, transit: Transit, verdict: Verdict, head: HeadReader) -> None:
        """Let the ASGI application go on with it."""
        app = self._gateway.resume(transit, verdict)
        self.turn = None
        if head.fields.upgrade == b"websocket" and hand_over(self, head, app=app):
            if self.transport.is_closing():  # that was no handshake: the application is not asked
                transit.drop(verdict)
            return
        cycle = Cycle(self, head)
        self.turn = cycle
        cycle.start(app)
