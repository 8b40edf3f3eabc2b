"""An exchange by the short path: between the client's connection and an instance's, without ASGI."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from typing import TYPE_CHECKING

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

    from micro.gateway.pipeline import Verdict, Way
    from micro.gateway.upstream.direct import Leg

logger = logging.getLogger("micro.gateway")


class Transit(Returning):
    """The client's side of an exchange: a `Turn` of its connection. Its body passes piece by piece, and who sends waits
    for who takes, in both directions.
    """

    __slots__ = ()

    def admitted(self, way: Way | None = None) -> Verdict:
        """What the plan says. Raises nothing. `way` is what it said of the same head before."""
        try:
            if way is None:
                return self.plan.admit(self)
            self.plan.recorder.begun += 1
            self.form, self.via, self.body_limit = way.form, way.via, way.body_limit
            self.pipeline = pipeline = way.pipeline
            for check in pipeline.asked:
                verdict = check(self)
                if verdict is not None:
                    return going_on(verdict, check, pipeline.asked, self)
        except Exception as error:  # noqa: BLE001 # whatever a policy raises has one answer
            return refuse_by(self, to_problem(error), kind=INTERNAL)
        return None

    def wait(self, verdict: Awaitable[Answer | None]) -> None:
        """Go on once a policy has decided, for which there is the time that the route gives the whole."""
        pipeline, port = self.pipeline, self._connection.port
        if pipeline is not None and pipeline.timeout:
            self._connection.deadline.set(self, self.started + pipeline.timeout)
        task = self._deciding = port.loop.create_task(self._decide(verdict))
        port.tasks.add(task)
        task.add_done_callback(port.tasks.discard)

    def drop(self, verdict: Verdict) -> None:
        """Somebody else has refused it, as malformed, after it was admitted."""
        if verdict is not None and not isinstance(verdict, Answer):
            self.wait(verdict)
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
        self._connection.deadline.clear()
        if answer is not None:
            self.give(answer)
        else:
            self.start()

    def start(self) -> None:
        """All policies have passed: send the request on."""
        pipeline, connection = self.pipeline, self._connection
        assert pipeline is not None  # or the plan had refused it
        assert pipeline.direct is not None  # or the way would be another
        if self.received > self.body_limit:
            self._overflow()
            return
        if pipeline.timeout:
            deadline = connection.deadline
            deadline.timed = self
            deadline.moment = moment = self.started + pipeline.timeout
            if moment < deadline.armed:
                deadline.arm()
        leg = pipeline.direct.start(self, self, body=self._announced)
        if self._progress == OVER:  # that was quick
            leg.cancel()
            return
        self._leg = leg
        if connection.blocked:  # by the answer before
            leg.pause()
        if self._announced:
            self._send_early(leg)

    def _send_early(self, leg: Leg) -> None:
        early, self._early = self._early, None
        if not self._choked:
            self._connection.resume_body()
        for data in early or ():
            if self._progress != OVER:
                leg.feed(data)
        if self._whole and self._progress != OVER:
            leg.end()

    def body(self, data: bytes) -> None:
        """See `Turn.body`."""
        self.received += len(data)
        if self._leg is not None:
            if self.received > self.body_limit and self._progress != TUNNEL:
                self._overflow()
            else:
                self._leg.feed(data)
            return
        if self._early is None:
            self._early = []
        self._early.append(data)
        if self.received > HIGH_WATER:
            self._connection.pause_body()

    def body_end(self) -> None:
        """See `Turn.body_end`."""
        self._whole = True
        if self._leg is not None:
            self._leg.end()
        if self._progress == TUNNEL:  # it ends when one side does, and tells nothing more
            self._finish()
            self._connection.done(keep=False)

    def pause(self) -> None:
        """See `Downstream.pause`."""
        self._choked = True
        self._connection.pause_body()

    def resume(self) -> None:
        """See `Downstream.resume`."""
        self._choked = False
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
        if self._leg is not None:
            self._leg.close()

    def throttle(self, *, blocked: bool) -> None:
        """See `Turn.throttle`."""
        if self._leg is not None:
            if blocked:
                self._leg.pause()
            else:
                self._leg.resume()

    def due(self) -> None:
        """See `Timed.due`."""
        if self._progress != NOTHING:
            if is_event_stream(self.fields):
                return
            self.error = "http_response_incomplete"
            logger.error("an answer took longer than its route allows")
            self._break_off()
        elif self._deciding is not None:
            self._refuse(undecided(self))
        elif self._announced and not self._whole and not self._choked:
            self._refuse(refuse(self, 408, detail="The body did not arrive in time."))
        else:
            self._refuse(fail(self, "http_response_timeout"))

    def _overflow(self) -> None:
        """More of the body came than may."""
        if self._progress == NOTHING:
            self._refuse(too_large(self))
        else:
            self._break_off()
