"""What HTTP requests and WebSockets have in common on their way through the ASGI adapter."""

from __future__ import annotations

import logging
from asyncio import CancelledError, current_task
from typing import TYPE_CHECKING, Any

from micro.gateway.exchange import Answer
from micro.gateway.guard import settled, undecided
from micro.gateway.headers import is_event_stream
from micro.gateway.refusals import BAD_REQUEST, INTERNAL, fail, refuse, refuse_by
from micro.gateway.upstream.ports import UpstreamError
from micro.web.problems import to_problem

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Awaitable

    from micro.gateway.deadlines import Slot
    from micro.gateway.exchange import Exchange
    from micro.gateway.pipeline import Pipeline, Verdict
    from micro.gateway.plan import Plan
    from micro.gateway.upstream.ports import Message, Receive, Send
    from micro.web.problems import Problem

logger = logging.getLogger("micro.gateway")

LOOK = 1.0
"""Seconds after which a request counts as long, and the gateway looks whether the client is still there."""
GRACE = 5.0
"""Seconds that an application has to notice that its client left, before it is cancelled."""
NEVER = float("inf")
LEFT = 499
"""The status logged where the client left before anything was sent to it."""

# How far the answer is. Plain numbers: to read a member of an enumeration costs more than a call.
NOTHING_SENT, BEGUN, COMPLETE = range(3)
# Why the application's messages don't matter any more.
CLIENT_GONE, CLIENT_SLOW, TIMED_OUT, TOO_LARGE, SPOILED = range(1, 6)


class Unasked:
    """The class of `UNASKED`, which stands for no verdict yet."""


UNASKED = Unasked()


class Flow:
    """One exchange over ASGI, and the task in which it happens: the server's own. A subclass knows the messages.

    Deadlines are kept by the plan's wheel. A request that takes long gets one task more, which waits for the client to
    leave; no other request has one of its own.
    """

    __slots__ = (
        "_cancelled",
        "_deciding",
        "_ending",
        "_pending",
        "_plan",
        "_progress",
        "_receive",
        "_send",
        "_slot",
        "_task",
        "_waiting",
        "_whole",
        "exchange",
    )

    def __init__(self, plan: Plan, exchange: Exchange, receive: Receive, send: Send) -> None:
        self.exchange = exchange
        self._plan = plan
        self._receive = receive
        self._send = send
        self._pending: Future[Message] | None = None
        """A message asked for ahead of the upstream, to notice when the client leaves."""
        self._progress = NOTHING_SENT
        self._ending = 0
        self._cancelled = False
        """Whether the task was, by us."""
        self._deciding = False
        """Whether a policy has to wait before it knows."""
        self._slot: Slot | None = None
        self._task: Task[Any] | None = None
        self._whole = False
        """Whether the request's body has come to its end."""
        self._waiting = False
        """Whether the upstream waits for the client."""

    async def run(self, verdict: Verdict | Unasked = UNASKED) -> None:
        """Answer. `verdict` is the plan's, where that was asked before.

        Raises `BrokenOff` where an answer that began can't be completed, and what the server raises.
        """
        try:
            answer = self._admitted() if isinstance(verdict, Unasked) else verdict
            if answer is not None and not isinstance(answer, Answer):
                answer = await self._decided(answer)
            if answer is None:
                pipeline = self._begin()
                failure = None
                try:
                    await pipeline.upstream.serve(self.exchange, self.receive, self.send)
                except CancelledError:
                    if not self._cancelled:
                        raise
                except Exception as error:  # noqa: BLE001 - whatever an application raises has one answer
                    failure = error
                if failure is not None or self._cancelled or self._progress != COMPLETE:
                    answer = await self._outcome(pipeline, failure)
            if answer is not None:
                await self.give(answer)
        except OSError:  # how ASGI 2.4 tells that the client left
            self._ending = CLIENT_GONE
        finally:
            if self._progress != COMPLETE or self._ending or self._pending is not None:
                self._end()

    async def receive(self) -> Message:
        """ASGI's `receive`, for the upstream."""
        raise NotImplementedError

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI's `send`, for the upstream."""
        raise NotImplementedError

    async def give(self, answer: Answer) -> None:
        """Send an answer of the gateway's own, when nothing was sent yet."""
        raise NotImplementedError

    async def break_off(self, error: Exception | None) -> None:
        """End an answer that began and can't be completed so that the client notices."""
        raise NotImplementedError

    def look(self) -> None:
        """A second passed: see to it that the client's leaving is noticed."""

    def due(self) -> None:
        """See `Timed.due`."""
        exchange, clock = self.exchange, self._plan.clock
        pipeline = exchange.pipeline
        assert pipeline is not None  # it was there before the first deadline
        if not self._ending:
            now, deadline = clock.monotonic(), exchange.started + (pipeline.timeout or NEVER)
            if now >= deadline and self._progress == BEGUN and is_event_stream(exchange.fields):
                deadline = NEVER
            if now < deadline:
                self.look()
                self._slot = self._plan.wheel.add(self, min(now + LOOK, deadline))
                return
            self._ending = self.lateness()
        self._cancel()

    def lateness(self) -> int:
        """Whose fault it is that the deadline is over."""
        return TIMED_OUT

    def _admitted(self) -> Verdict:
        try:
            return self._plan.admit(self.exchange)
        except Exception as error:  # noqa: BLE001 - whatever a policy raises has one answer
            return refuse_by(self.exchange, to_problem(error), kind=INTERNAL)

    async def _decided(self, verdict: Awaitable[Answer | None]) -> Answer | None:
        """What a policy says that has to wait, for which there is the time that the route gives the whole.

        Raises `OSError` where the client left meanwhile.
        """
        self._begin()
        self._deciding = True
        answer = None
        try:
            answer = await settled(verdict, self.exchange)
        except CancelledError:
            if not self._cancelled:
                raise
        finally:
            self._deciding = False
            self._stop_timing()
        self._take_back()
        if self._ending == CLIENT_GONE:
            raise ConnectionResetError("the client left")
        return undecided(self.exchange) if self._ending else answer

    def _begin(self) -> Pipeline:
        """Keep the time of what has to be waited for."""
        pipeline = self.exchange.pipeline
        assert pipeline is not None  # or the plan had refused it
        self._task = current_task()
        first = pipeline.timeout if 0 < pipeline.timeout < LOOK else LOOK
        self._slot = self._plan.wheel.add(self, self.exchange.started + first)
        return pipeline

    def _end(self) -> None:
        """Whatever happened, leave nothing behind, and a record of it."""
        self._stop_timing()
        if self._pending is not None:
            self._pending.cancel()
        if self._progress != COMPLETE:
            self.exchange.status = self.exchange.status or LEFT
            self._plan.recorder.record(self.exchange, self._plan.ends)

    async def _outcome(self, pipeline: Pipeline, error: Exception | None) -> Answer | None:
        """The upstream is done, and not well: what there is to say in its place."""
        self._stop_timing()
        self._take_back()
        if self._progress == COMPLETE:
            if not self._ending:
                logger.error("%s failed after its answer", pipeline.blamed, exc_info=error)
            return None
        if self._ending == CLIENT_GONE:
            return None
        if self._progress == BEGUN:
            await self._broken_off(pipeline, error)
            return None
        if self._ending == SPOILED:
            return fail(self.exchange, INTERNAL)
        if self._ending == CLIENT_SLOW:
            return refuse(self.exchange, 408, detail="The body did not arrive in time.")
        if self._ending == TIMED_OUT:
            return fail(self.exchange, "http_response_timeout")
        logger.error("%s gave no answer", pipeline.blamed, exc_info=error)
        return fail(
            self.exchange, error.kind if isinstance(error, UpstreamError) else "connection_terminated"
        )

    async def _broken_off(self, pipeline: Pipeline, error: Exception | None) -> None:
        """The answer began, and does not come to its end."""
        self.exchange.error = INTERNAL if self._ending == SPOILED else "http_response_incomplete"
        if self._ending == TIMED_OUT:
            logger.error("an answer of %s took longer than its route allows", pipeline.blamed)
        elif self._ending != SPOILED:
            logger.error("%s broke its answer off", pipeline.blamed, exc_info=error)
        await self.break_off(error)

    def _spoiled(self, error: Exception) -> UpstreamError:
        """A policy failed on the answer: nothing more of it is passed on. What to tell the application."""
        pipeline = self.exchange.pipeline
        service = pipeline.service if pipeline is not None else ""
        logger.error("a policy failed on an answer of %s", service, exc_info=error)
        self._ending = SPOILED
        self._give_grace()
        return UpstreamError(INTERNAL, "a policy failed on the answer")

    def _cancel(self) -> None:
        assert self._task is not None  # it was there before the first deadline
        self._cancelled = True
        self._task.cancel()

    def _take_back(self) -> None:
        """The cancellation was our own, and has done its work."""
        if self._cancelled and self._task is not None:
            self._cancelled = False
            if self._task.uncancel():
                raise CancelledError  # somebody else wants the task to end, too

    def _lose_client(self, problem: Problem | None = None) -> None:
        """The client left, or the server told it of a `problem` of its body: the application's messages don't matter any
        more, nor what a policy would say.
        """
        if not self._ending and self._progress != COMPLETE:
            self._ending = CLIENT_GONE
            if problem is not None:
                self.exchange.status = self.exchange.status or problem.status
                self.exchange.error = BAD_REQUEST
            if self._deciding:
                self._cancel()
            else:
                self._give_grace()

    def _give_grace(self) -> None:
        self._stop_timing()
        self._slot = self._plan.wheel.add(self, self._plan.clock.monotonic() + GRACE)

    def _complete(self) -> None:
        """The last message of the answer is on its way."""
        self._progress = COMPLETE
        if self._slot is not None:
            self._stop_timing()
        self._plan.recorder.record(self.exchange, self._plan.ends)

    def _stop_timing(self) -> None:
        if self._slot is not None:
            self._slot.discard(self)
            self._slot = None
