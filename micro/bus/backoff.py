"""Waiting longer after every failure, and starting again what has failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.cancellation import uncancelled
from micro.clock import uniform

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from micro.clock import Clock

_HEALTHY = 60.0
"""Seconds of work after which a failure counts as the first."""


class Backoff:
    """Full jitter: the wait after failure *n* is drawn from [0, min(cap, base · 2ⁿ)) seconds."""

    def __init__(self, clock: Clock, *, base: float = 0.1, cap: float = 5.0) -> None:
        self._clock = clock
        self._base = base
        self._cap = cap
        self._failures = 0

    def succeeded(self) -> None:
        """Begin with short waits again."""
        self._failures = 0

    def failed(self) -> float:
        """Count a failure; seconds to wait."""
        self._failures = min(self._failures + 1, 32)
        return uniform(self._clock) * min(self._cap, self._base * 2.0**self._failures)

    async def pause(self, *, unless: asyncio.Event | None = None) -> None:
        """Count a failure and wait, but no longer than until `unless` is set."""
        seconds = self.failed()
        if unless is None:
            await self._clock.sleep(seconds)
            return
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(unless.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


async def supervised(
    part: Callable[[], Awaitable[None]], name: str, *, clock: Clock, log: logging.Logger
) -> None:
    """Run `part` until it returns. When it raises, say so with the traceback and run it again, after a back-off."""
    backoff = Backoff(clock, base=0.2, cap=30.0)
    while True:
        started = clock.monotonic()
        try:
            with uncancelled(name):
                return await part()
        except Exception:
            log.exception("%s failed and is started again", name)
        if clock.monotonic() - started > _HEALTHY:
            backoff.succeeded()
        await backoff.pause()
