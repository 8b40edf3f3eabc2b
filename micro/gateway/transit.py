"""An exchange by the short path: between the client's connection and an instance's, without ASGI."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from typing import TYPE_CHECKING

from micro.gateway.deadlines import NEVER
from micro.gateway.exchange import Answer
from micro.gateway.flow import LEFT
from micro.gateway.guard import settled, undecided
from micro.gateway.headers import is_event_stream
from micro.gateway.passage import NOTHING, OVER, TUNNEL
from micro.gateway.pipeline import going_on
from micro.gateway.policies.limits import too_large
from micro.gateway.refusals import BAD_REQUEST, INTERNAL, closing, fail, refuse, refuse_by
from micro.gateway.returning import Returning
from micro.web.problems import Problem, to_problem
from micro.web.server.limits import HIGH_WATER

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from micro.gateway.known import Way
    from micro.gateway.passage import Arrival
    from micro.gateway.pipeline import Verdict
    from micro.gateway.upstream.direct import Leg

logger = logging.getLogger("micro.gateway")


class Transit(Returning):
    """The client's side of an exchange: a `Turn` of its connection. Its body passes piece by piece, and who sends waits
    for who takes, in both directions.
    """

    __slots__ = ()

    def admitted(self) -> Verdict:
        """What the plan says. Raises nothing."""
        try:
            return self.plan.admit(self)
        except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
            return refuse_by(self, to_problem(error), kind=INTERNAL)

    def follow(self, way: Way, form: bytes) -> None:
        """Go the way of a request before: what its head decides is decided."""
        self.plan.recorder.begun += 1
        self.form, self.via, self.body_limit = form, way.via, way.body_limit
        self.pipeline = pipeline = way.pipeline
        verdict: Verdict = None
        try:
            for check in pipeline.asked:
                verdict = check(self)
                if verdict is not None:
                    verdict = going_on(verdict, check, pipeline.asked, self)
                    break
        except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
            verdict = refuse_by(self, to_problem(error), kind=INTERNAL)
        if verdict is None:
            self._start()
        else:
            self.go_on(verdict)

    def go_on(self, verdict: Verdict) -> None:
        """The policies have said something: send the request on, answer it, or wait for them."""
        if verdict is None:
            self._start()
        elif isinstance(verdict, Answer):
            self.give(verdict)
        else:
            self._wait(verdict)

    def _wait(self, verdict: Awaitable[Answer | None]) -> None:
        """Go on once a policy has decided, for which there is the time that the route gives the whole."""
        connection = self._connection
        port, deadline = connection.port, self.deadline()
        if deadline < connection.armed:
            connection.arm(deadline)
        task = self._deciding = port.loop.create_task(self._decide(verdict))
        port.tasks.add(task)
        task.add_done_callback(port.tasks.discard)

    def drop(self, verdict: Verdict) -> None:
        """Somebody else has refused it, as malformed, after it was admitted."""
        if verdict is not None and not isinstance(verdict, Answer):
            self._wait(verdict)
        self.status, self.error = 400, BAD_REQUEST
        self._abandon()

    async def _decide(self, verdict: Awaitable[Answer | None]) -> None:
        try:
            answer = await settled(verdict, self)
        except CancelledError:
            self._deciding = None
            if self._progress == NOTHING:  # by the server, which stops
                self._break_off()
            raise
        self._deciding = None
        if self._progress != NOTHING:
            return
        if answer is not None:
            self.give(answer)
        elif self.received > self.body_limit:
            self._overflow()
        else:
            self.began = self.plan.clock.monotonic()
            self._start()

    def _start(self) -> None:
        """All policies have passed: send the request on."""
        pipeline, connection, arrival = self.pipeline, self._connection, self._arrival
        assert pipeline is not None  # or the plan had refused it
        direct, timeout = pipeline.direct, pipeline.timeout
        assert direct is not None  # or the way would be another
        if timeout and self.started + timeout < connection.armed:
            connection.arm(self.started + timeout)
        direct.start(self, self, body=arrival is not None)
        leg = self.leg
        if leg is None:  # that was quick
            return
        if connection.blocked:  # by the answer before
            leg.pause()
        if arrival is not None:
            self._send_early(leg, arrival)

    def _send_early(self, leg: Leg, arrival: Arrival) -> None:
        early, arrival.early = arrival.early, []
        if not arrival.choked:
            self._connection.resume_body()
        for data in early:
            if self._progress != OVER:
                leg.feed(data)
        if arrival.whole and self._progress != OVER:
            leg.end()

    def body(self, data: bytes) -> None:
        """See `Turn.body`."""
        self.received += len(data)
        if self.leg is not None:
            if self.received > self.body_limit and self._progress != TUNNEL:
                self._overflow()
            else:
                self.leg.feed(data)
            return
        assert self._arrival is not None  # or there would be no body
        self._arrival.early.append(data)
        if self.received > HIGH_WATER:
            self._connection.pause_body()

    def body_end(self) -> None:
        """See `Turn.body_end`."""
        if self._arrival is not None:
            self._arrival.whole = True
        if self.leg is not None:
            self.leg.end()
        if self._progress == TUNNEL:  # it ends when one side does, and tells nothing more
            self._finish()
            self._connection.done(False)

    def pause(self) -> None:
        """See `Downstream.pause`."""
        if self._arrival is not None:
            self._arrival.choked = True
        self._connection.pause_body()

    def resume(self) -> None:
        """See `Downstream.resume`."""
        if self._arrival is not None:
            self._arrival.choked = False
        self._connection.resume_body()

    def lost(self) -> None:
        """See `Turn.lost`."""
        if self._progress != OVER:
            self.status = self.status or LEFT
            self._abandon()

    def failed(self, problem: Problem) -> None:
        """See `Turn.failed`."""
        if self._progress == NOTHING:
            self._refuse(closing(refuse_by(self, problem)))
        elif self._progress != OVER:
            self.error = BAD_REQUEST
            self._break_off()

    def stop(self) -> None:
        """See `Turn.stop`."""
        if self.leg is not None:
            self.leg.close()

    def throttle(self, *, blocked: bool) -> None:
        """See `Turn.throttle`."""
        if self.leg is not None:
            if blocked:
                self.leg.pause()
            else:
                self.leg.resume()

    def deadline(self) -> float:
        """Until when it may take: for ever, where the route has no limit, or it has become a tunnel."""
        pipeline = self.pipeline
        limited = pipeline is not None and pipeline.timeout and self._progress != TUNNEL
        return self.started + pipeline.timeout if pipeline is not None and limited else NEVER

    def due(self) -> None:
        """That is over."""
        arrival = self._arrival
        if self._progress != NOTHING:
            if is_event_stream(self.fields):
                return
            self.error = "http_response_incomplete"
            logger.error("an answer took longer than its route allows")
            self._break_off()
        elif self._deciding is not None:
            self._refuse(undecided(self))
        elif arrival is not None and not arrival.whole and not arrival.choked:
            self._refuse(refuse(self, 408, detail="The body did not arrive in time."))
        else:
            self._refuse(fail(self, "http_response_timeout"))

    def _overflow(self) -> None:
        """More of the body came than may."""
        if self._progress == NOTHING:
            self._refuse(too_large(self))
        else:
            self._break_off()
