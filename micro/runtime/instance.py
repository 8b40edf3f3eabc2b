"""One running copy of a service: its app, its lifespan, its events and its background workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from micro.runtime.ending import CANCELLATION, cancelled
from micro.runtime.lifespan import Lifespan
from micro.runtime.supervise import Supervised
from micro.telemetry.logs import current_service

if TYPE_CHECKING:
    from micro.bus.events import Events
    from micro.service import Resources, Service
    from micro.web.wrap import ServiceApp

_log = logging.getLogger("micro.runtime.instance")

DEAF = 10.0
"""Seconds for which an instance may take in no events before that is said of it: a moment's trouble mends itself."""


class Instance:
    """An ASGI app with a life of its own: `start`, `work` in the background, `stop`.

    Set `app`, the service's app in our wrapper, before anything else; the wrapper asks the instance whether it is ready.
    """

    app: ServiceApp

    def __init__(self, service: Service, *, resources: Resources, events: Events | None) -> None:
        """`events` is `None` for a service without a database."""
        self.service = service
        self.name = service.name
        self.resources = resources
        self.events = events
        self._state: dict[str, Any] = {"micro": resources}
        self._lifespan: Lifespan | None = None
        self._workers = list(self._make_workers())
        self._task: asyncio.Task[None] | None = None
        self._reason: str | None = "starting"
        self._heard = 0.0
        """The clock's monotonic time at which it was last found to take in events."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        scope["state"] = self._state
        mark = current_service.set(self.name)
        try:
            await self.app(scope, receive, send)
        finally:
            current_service.reset(mark)

    def unready(self) -> str | None:
        """Why it should get no traffic; nothing when it may. Asked every few seconds, by whoever looks after it."""
        return self._reason or self._deaf()

    @property
    def restarts(self) -> int:
        """How often a worker of this instance failed and was started again."""
        return sum(worker.restarts for worker in self._workers)

    async def start(self) -> None:
        """Run the app's start. Raises `ConfigurationError` where it refuses."""
        self._lifespan = Lifespan(self.name, self.app.app, self._state)
        with self._as_current():
            await self._lifespan.start()
        self._reason = None

    def work(self) -> None:
        """Start the event machinery and the background workers, in a task of this instance."""
        self._heard = self.resources.clock.monotonic()
        with self._as_current():
            self._task = asyncio.create_task(self._work(), name=f"workers of {self.name}")

    async def rest(self, grace: float) -> None:
        """End the work: events in hand are finished for up to `grace` seconds, then all of it is cancelled. Idempotent.

        What swallows its cancellation is left behind, and that is logged.
        """
        task, self._task = self._task, None
        if task is None:
            return
        try:
            if self.events is not None:
                await self.events.drain(grace)
        except Exception:  # noqa: BLE001 - whatever it is, the rest of the shutdown goes on
            _log.exception("%s: its events did not come to rest", self.name)
        finally:
            if await cancelled({task}, limit=CANCELLATION):
                _log.error("%s: its work goes on though it was cancelled %g s ago", self.name, CANCELLATION)

    async def stop(self, grace: float = 0.0) -> None:
        """End the work, then run the app's shutdown. Idempotent."""
        self._reason = "stopping"
        await self.rest(grace)
        if self._lifespan is not None:
            with self._as_current():
                await self._lifespan.stop()

    def _deaf(self) -> str | None:
        """Whether its consumer, while it is at work, has not been consuming for a while."""
        consumer = None if self.events is None or self._task is None else self.events.consumer
        if consumer is None:
            return None
        now = self.resources.clock.monotonic()
        if consumer.consuming:
            self._heard = now
        return "it takes in no events" if now - self._heard >= DEAF else None

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run(), name=worker.name)

    def _make_workers(self) -> list[Supervised]:
        clock = self.resources.clock
        workers = [
            Supervised(f"{self.name}: {each.__name__}", partial(each, self.resources), clock=clock)
            for each in self.service.backgrounds
        ]
        if self.events is not None:
            workers.insert(0, Supervised(f"{self.name}: events", self.events.run, clock=clock))
        return workers

    @contextlib.contextmanager
    def _as_current(self) -> Any:
        mark = current_service.set(self.name)
        try:
            yield
        finally:
            current_service.reset(mark)
