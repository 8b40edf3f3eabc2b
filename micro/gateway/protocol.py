"""The adapter `protocol`: requests straight from the client's connection to an upstream that has a short path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.deadlines import NEVER
from micro.gateway.exchange import Answer
from micro.gateway.known import Way
from micro.gateway.transit import Transit
from micro.web.server.cycle import Cycle
from micro.web.server.protocol import HttpProtocol
from micro.web.server.websocket import hand_over

if TYPE_CHECKING:
    from micro.gateway.app import Gateway
    from micro.gateway.deadlines import Slot
    from micro.gateway.pipeline import Verdict
    from micro.web.server.head import Head
    from micro.web.server.port import Port


class GatewayProtocol(HttpProtocol):
    """Admits requests itself. One whose upstream has no short path goes to the gateway's application, admitted as it is:
    no policy sees it twice.
    """

    __slots__ = ("_gateway", "_slot", "armed")

    def __init__(self, port: Port, gateway: Gateway) -> None:
        super().__init__(port)
        self._gateway = gateway
        self._slot: Slot | None = None
        self.armed = NEVER
        """When the wheel looks here next; never later than the deadline of the request in hand."""

    def begin(self, head: Head) -> None:
        """See `HttpProtocol.begin`. What is found out is kept for requests that are like it: see `known`."""
        plan = self._gateway.plan
        if not plan.short:
            super().begin(head)
            return
        self.turn = transit = Transit(self, plan, head)
        way = plan.way(transit)
        if way is not None:
            head.way = way, head.path
            transit.follow(way, head.path)
            return
        verdict = transit.admitted()
        pipeline = transit.pipeline
        if pipeline is not None and pipeline.direct is not None:
            if verdict is None and head.method != "OPTIONS":
                way = Way(transit, pipeline, plan)
                head.way = way, transit.form
                head.fields.extra.keep(way)
            transit.go_on(verdict)
        elif isinstance(verdict, Answer):
            transit.go_on(verdict)
        else:
            self._pass_on(transit, verdict, head)

    def repeat(self, head: Head) -> None:
        """See `HttpProtocol.repeat`."""
        plan, known = self._gateway.plan, head.way
        if known is None or known[0].plan is not plan:
            self.begin(head)
            return
        way, form = known
        self.turn = transit = Transit(self, plan, head)
        transit.follow(way, form)

    def arm(self, moment: float) -> None:
        """Look at the deadline of the request in hand at `moment`, which is earlier than `armed`.

        The entry in the wheel stays where it is when that request is over: so there is one for many requests.
        """
        if self._slot is not None:
            self._slot.discard(self)
        self.armed = moment
        self._slot = self._gateway.plan.wheel.add(self, moment)

    def due(self) -> None:
        """See `Timed.due`."""
        self._slot, self.armed = None, NEVER
        turn = self.turn
        if isinstance(turn, Transit):
            deadline = turn.deadline()
            if deadline <= turn.plan.clock.monotonic():
                turn.due()
            elif deadline != NEVER:
                self.arm(deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Connection.connection_lost`."""
        super().connection_lost(exc)
        if self._slot is not None:
            self._slot.discard(self)
            self._slot, self.armed = None, NEVER

    def _pass_on(self, transit: Transit, verdict: Verdict, head: Head) -> None:
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
