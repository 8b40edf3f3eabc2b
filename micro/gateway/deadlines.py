"""One coarse timer wheel for all deadlines, instead of a timer a request.

To set and to clear a deadline is to put into and to take out of a set (the simple scheme of Varghese and Lauck,
"Hashed and Hierarchical Timing Wheels", 1987). Nothing runs while no deadline is set.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from micro.clock import Clock

logger = logging.getLogger(__name__)

NEVER = float("inf")
TICK = 0.1
"""Seconds between two looks at the wheel: a deadline fires up to two of them late, never early."""


class Timed(Protocol):
    """Something with a deadline."""

    def due(self) -> None:
        """The deadline is over. Called by the wheel, between two steps of every other task."""
        ...


Slot: TypeAlias = "set[Timed]"
"""Where a deadline is kept: discard it from there to clear it."""


class Wheel:
    """Deadlines of one event loop. The task that turns it lives while there are any, or until `close`."""

    __slots__ = ("_slots", "_task", "clock")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        """What its moments are read from."""
        self._slots: dict[int, Slot] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, timed: Timed, moment: float) -> Slot:
        """Call `timed.due()` soon after `moment` of the clock's monotonic time; forget it by `slot.discard(timed)`."""
        tick = int(moment / TICK) + 1
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = set()
            if self._task is None or self._task.done():
                self._start()
        slot.add(timed)
        return slot

    async def close(self) -> None:
        """Forget every deadline and stop. Idempotent."""
        self._slots.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        # In a context of its own: the one of the request that happens to set the first deadline would be kept alive.
        self._task = loop.create_task(self._turn(), name="gateway deadlines", context=Context())

    async def _turn(self) -> None:
        while self._slots:
            await self.clock.sleep(TICK)
            now = int(self.clock.monotonic() / TICK)
            for tick in [tick for tick in self._slots if tick <= now]:
                for timed in tuple(self._slots.pop(tick)):
                    _fire(timed)


def _fire(timed: Timed) -> None:
    try:
        timed.due()
    except Exception:
        logger.exception("a deadline could not be kept")
