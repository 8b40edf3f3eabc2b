"""Runs an app's lifespan (https://asgi.readthedocs.io/en/latest/specs/lifespan.html), once, for all the servers before it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from micro.errors import ConfigurationError
from micro.runtime.ending import cancelled

if TYPE_CHECKING:
    from micro.service import ASGIApp

_log = logging.getLogger("micro.runtime.lifespan")

_STUBBORN = 1.0
"""Seconds that an app gets to heed its cancellation."""


class Lifespan:
    """One app's lifespan: `start`, then `stop`. `state` is what the app leaves for its requests.

    An app that knows no lifespan is fine: it raises when it is asked, before it has answered anything.
    """

    def __init__(self, name: str, app: ASGIApp, state: dict[str, Any], *, limit: float = 30.0) -> None:
        self.name = name
        self.state = state
        self._app = app
        self._limit = limit
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue(2)
        self._started: asyncio.Future[str | None]
        self._stopping = False
        self._failed_aloud = False

    async def start(self) -> None:
        """Send `lifespan.startup` and wait for the answer.

        Raises `ConfigurationError` where the app refuses to start or takes longer than the limit.
        """
        self._started = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"lifespan of {self.name}")
        self._inbox.put_nowait({"type": "lifespan.startup"})
        try:
            async with asyncio.timeout(self._limit):
                refusal = await self._started
        except TimeoutError as error:
            await self._cancel()
            raise ConfigurationError(f"{self.name}: its start took longer than {self._limit:g} s") from error
        except BaseException:
            await self._cancel()
            raise
        if refusal is not None:
            await self._cancel()
            _log.debug("%s: its app refused to start: %s", self.name, refusal)
            reason = refusal.strip().rpartition("\n")[2] or "it gave no reason"
            raise ConfigurationError(f"{self.name}: its app refused to start: {reason}")

    async def stop(self) -> None:
        """Send `lifespan.shutdown` and wait for the app to end, within the limit. Idempotent."""
        if self._task is None:
            return
        if not self._stopping:
            self._stopping = True
            self._inbox.put_nowait({"type": "lifespan.shutdown"})
        try:
            _, late = await asyncio.wait({self._task}, timeout=self._limit)
            if late:
                _log.error("%s: its shutdown took longer than %g s and was cut off", self.name, self._limit)
        finally:
            await self._cancel()

    async def _cancel(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await cancelled({task}, limit=_STUBBORN)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except Exception as error:  # noqa: BLE001 - an app may raise anything here; what it means depends on when
            self._raised(error)
        finally:
            if not self._started.done():
                self._started.set_result(None)

    def _raised(self, error: Exception) -> None:
        if not self._started.done():
            _log.debug("%s has no lifespan: %r", self.name, error)
        elif not self._failed_aloud:
            _log.error("%s: its lifespan failed", self.name, exc_info=error)

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._started.done():
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self._started.done():
            self._started.set_result(message.get("message", ""))
        elif kind == "lifespan.shutdown.failed":
            self._failed_aloud = True
            _log.error("%s: its shutdown failed: %s", self.name, message.get("message", "no reason"))
