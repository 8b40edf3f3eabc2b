"""Keeps a task running: whatever it dies of is said aloud, and it starts again after a growing wait."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from micro.cancellation import uncancelled
from micro.clock import uniform
from micro.errors import MicroError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.clock import Clock

_log = logging.getLogger("micro.runtime.supervise")

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
STABLE = 60.0
"""Seconds that a worker must have run for its next failure to count as a first one."""


def restart_wait(failures: int, clock: Clock) -> float:
    """Seconds to wait after so many failures in a row before: half of a doubling ceiling, and chance over the rest."""
    ceiling = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures, 16))
    return ceiling / 2 + uniform(clock) * ceiling / 2


class Supervised:
    """One worker, started again whenever it fails. `run` is owned by a task; cancelling that stops the worker.

    A worker that returns has finished and is not started again.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[None]], *, clock: Clock) -> None:
        self.name = name
        self.restarts = 0
        self._work = work
        self._clock = clock

    async def run(self) -> None:
        """Run the worker, again and again after failures, at most half a minute later."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                with uncancelled(self.name):
                    await self._work()
            except Exception as error:  # noqa: BLE001 - whatever an author's worker raises, the next one gets its chance
                if self._clock.monotonic() - began >= STABLE:
                    failures = 0
                wait = restart_wait(failures, self._clock)
                said = sentence(error)
                _log.error(
                    "%s failed and starts again in %.1f s%s", self.name, wait, f": {said}" if said else "",
                    exc_info=None if said else error,
                )  # fmt: skip
                failures += 1
                self.restarts += 1
                await self._clock.sleep(wait)
            else:
                return


def sentence(error: BaseException) -> str:
    """What errors of ours say, one or several; nothing for any other, of which the place in the code is to be shown."""
    if isinstance(error, BaseExceptionGroup):
        said = [sentence(each) for each in error.exceptions]
        return "; ".join(dict.fromkeys(said)) if all(said) else ""
    return str(error) if isinstance(error, MicroError) else ""
