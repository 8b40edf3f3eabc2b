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


class Deadline:
    """One deadline after the other, as requests on a connection have them, at the cost of a few comparisons.

    Its entry in the wheel stays where it is while the deadline moves to later or is cleared; when the entry comes up, it
    follows. To set: write `timed` and `moment`, and `if moment < armed: arm()`. To clear: `clear`.
    """

    __slots__ = ("_slot", "_wheel", "armed", "moment", "timed")

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._slot: Slot | None = None
        self.timed: Timed | None = None
        """Whom to tell."""
        self.moment = NEVER
        """When."""
        self.armed = NEVER
        """When the wheel looks here next."""

    def set(self, timed: Timed, moment: float) -> None:
        """Call `timed.due()` soon after `moment`, unless something else is set, or it is cleared, before."""
        self.timed, self.moment = timed, moment
        if moment < self.armed:
            self.arm()

    def arm(self) -> None:
        """See that the wheel looks here in time."""
        if self._slot is not None:
            self._slot.discard(self)
        self.armed = self.moment
        self._slot = self._wheel.add(self, self.moment)

    def clear(self) -> None:
        """Tell nobody."""
        self.timed, self.moment = None, NEVER

    def close(self) -> None:
        """Leave the wheel."""
        self.clear()
        if self._slot is not None:
            self._slot.discard(self)
            self._slot, self.armed = None, NEVER

    def due(self) -> None:
        """See `Timed.due`."""
        self._slot, self.armed = None, NEVER
        timed = self.timed
        if timed is None:
            return
        if self._wheel.clock.monotonic() < self.moment:
            self.arm()
        else:
            self.clear()
            timed.due()


def _fire(timed: Timed) -> None:
    try:
        timed.due()
    except Exception:
        logger.exception("a deadline could not be kept")
