"""What HTTP requests and WebSockets have in common on their way through the ASGI adapter."""

from __future__ import annotations

import logging
from asyncio import CancelledError, current_task
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from micro.errors import MicroError
from micro.gateway.exchange import Answer, Exchange
from micro.gateway.refusals import INTERNAL, fail, refuse, refuse_by
from micro.gateway.upstream.ports import UpstreamError
from micro.web.problems import to_problem

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Awaitable

    from micro.gateway.deadlines import Slot
    from micro.gateway.pipeline import Pipeline
    from micro.gateway.plan import Plan
    from micro.gateway.upstream.ports import Message, Receive, Send

logger = logging.getLogger("micro.gateway")

LOOK = 1.0
"""Seconds after which a request counts as long, and the gateway looks whether the client is still there."""
GRACE = 5.0
"""Seconds that an application has to notice that its client left, before it is cancelled."""
LEFT = 499
"""The status logged where the client left before anything was sent to it."""

# How far the answer is. Plain numbers: to read a member of an enumeration costs more than a call.
NOTHING_SENT, BEGUN, COMPLETE = range(3)
# Why the application's messages don't matter any more.
CLIENT_GONE, CLIENT_SLOW, TIMED_OUT, TOO_LARGE = range(1, 5)


class BrokenOff(MicroError):
    """Raised to the server, so that it breaks the connection off: an answer that began can't be completed."""


class Flow(Exchange):
    """One exchange over ASGI, and the task in which it happens: the server's own. A subclass knows the messages.

    Deadlines are kept by the plan's wheel. A request that takes long gets one task more, which waits for the client to
    leave; no other request has one of its own.
    """

    __slots__ = (
        "_cancelled",
        "_ending",
        "_pending",
        "_plan",
        "_progress",
        "_receive",
        "_received",
        "_send",
        "_slot",
        "_task",
        "_waiting",
        "_whole",
    )

    def __init__(self, plan: Plan, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path = scope.get("raw_path")
        if not path:
            path = _encoded(scope["path"]) if path is None else b"/"
        super().__init__(scope.get("method", "GET"), path, scope["headers"])
        self.started = plan.clock.monotonic()
        self.scope = scope
        self.query = scope["query_string"]
        self.version = scope["http_version"]
        self.scheme = scope["scheme"]
        self.peer = scope.get("client")
        self._plan = plan
        self._receive = receive
        self._send = send
        self._pending: Future[Message] | None = None
        """A message asked for ahead of the upstream, to notice when the client leaves."""
        self._progress = NOTHING_SENT
        self._ending = 0
        self._cancelled = False
        self._slot: Slot | None = None
        self._task: Task[Any] | None = None
        self._received = 0
        """Bytes of the request's body so far."""
        self._whole = False
        """Whether the request's body has come to its end."""
        self._waiting = False
        """Whether the upstream waits for the client."""

    async def run(self) -> None:
        """Answer. Raises `BrokenOff` where an answer that began can't be completed, and what the server raises."""
        try:
            answer = self._admitted()
            if answer is not None and not isinstance(answer, Answer):
                answer = await self._waited(answer)
            if answer is None:
                pipeline = self._begin()
                failure = None
                try:
                    await pipeline.upstream.serve(self, self.receive, self.send)
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
        pipeline, task, clock = self.pipeline, self._task, self._plan.clock
        assert pipeline is not None  # both were there before the first deadline
        assert task is not None
        if not self._ending:
            now, deadline = clock.monotonic(), self.started + (pipeline.timeout or float("inf"))
            if now < deadline:
                self.look()
                self._slot = self._plan.wheel.add(self, min(now + LOOK, deadline))
                return
            self._ending = self.lateness()
        self._cancelled = True
        task.cancel()

    def lateness(self) -> int:
        """Whose fault it is that the deadline is over."""
        return TIMED_OUT

    def _admitted(self) -> Answer | Awaitable[Answer | None] | None:
        try:
            return self._plan.admit(self)
        except Exception as error:  # noqa: BLE001 - whatever a policy raises has one answer
            return refuse_by(self, to_problem(error), kind=INTERNAL)

    async def _waited(self, verdict: Awaitable[Answer | None]) -> Answer | None:
        try:
            return await verdict
        except Exception as error:  # noqa: BLE001 - as above
            return refuse_by(self, to_problem(error), kind=INTERNAL)

    def _begin(self) -> Pipeline:
        """The upstream's time begins."""
        pipeline = self.pipeline
        assert pipeline is not None  # or the plan had refused it
        self._task = current_task()
        first = pipeline.timeout if 0 < pipeline.timeout < LOOK else LOOK
        self._slot = self._plan.wheel.add(self, self.started + first)
        return pipeline

    def _end(self) -> None:
        """Whatever happened, leave nothing behind, and a record of it."""
        self._stop_timing()
        if self._pending is not None:
            self._pending.cancel()
        if self._progress != COMPLETE:
            self.status = self.status or LEFT
            self._plan.recorder.record(self)

    async def _outcome(self, pipeline: Pipeline, error: Exception | None) -> Answer | None:
        """The upstream is done, and not well: what there is to say in its place."""
        self._stop_timing()
        if self._cancelled and self._task is not None and self._task.uncancel():
            raise CancelledError  # somebody else wants the task to end, too
        if self._progress == COMPLETE:
            if not self._ending:
                logger.error("%s failed after its answer", pipeline.service, exc_info=error)
            return None
        if self._ending == CLIENT_GONE:
            return None
        if self._progress == BEGUN:
            self.error = "http_response_incomplete"
            logger.error("%s broke its answer off", pipeline.service, exc_info=error)
            await self.break_off(error)
            return None
        if self._ending == CLIENT_SLOW:
            return refuse(self, 408, detail="The body did not arrive in time.")
        if self._ending == TIMED_OUT:
            return fail(self, "http_response_timeout")
        logger.error("%s gave no answer", pipeline.service, exc_info=error)
        return fail(self, error.kind if isinstance(error, UpstreamError) else "connection_terminated")

    def _lose_client(self) -> None:
        """The client left: the application's messages don't matter any more."""
        if not self._ending and self._progress != COMPLETE:
            self._ending = CLIENT_GONE
            self._give_grace()

    def _give_grace(self) -> None:
        self._stop_timing()
        self._slot = self._plan.wheel.add(self, self._plan.clock.monotonic() + GRACE)

    def _complete(self) -> None:
        """The last message of the answer is on its way."""
        self._progress = COMPLETE
        if self._slot is not None:
            self._stop_timing()
        self._plan.recorder.record(self)

    def _stop_timing(self) -> None:
        if self._slot is not None:
            self._slot.discard(self)
            self._slot = None


def _encoded(path: str) -> bytes:
    """A path on the wire, where a server gives it decoded only."""
    return quote(path, safe="/:@!$&'()*+,;=-._~").encode("ascii")
