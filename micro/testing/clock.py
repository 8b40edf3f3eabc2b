"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import random  # noqa: TID251 - this is a Clock: seeded chance for tests
from datetime import UTC, datetime, timedelta
from itertools import count

_START = datetime(2026, 1, 1, tzinfo=UTC)
_NANOSECONDS = 1_000_000_000
_TURNS = 32
"""Turns of the event loop that a woken task gets before time goes on. Enough for a chain of awaits within the loop."""


class FakeClock:
    """A `micro.clock.Clock` for tests: time passes only in `advance`, chance is a seeded sequence.

    Time is kept in whole nanoseconds, so three sleeps of 0.1 s end exactly with one of 0.3 s. `monotonic` starts at 0.
    One clock serves one event loop.
    """

    def __init__(self, start: datetime = _START, seed: int = 0) -> None:
        self._start = start
        self._elapsed = 0
        self._wall_offset = timedelta()
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._arrival = asyncio.Event()

    def now(self) -> datetime:
        """The start, plus all that was advanced and jumped; in UTC."""
        return (self._start + timedelta(microseconds=self._elapsed // 1000) + self._wall_offset).astimezone(
            UTC
        )

    def monotonic(self) -> float:
        """Seconds advanced since the clock was made."""
        return self._elapsed / _NANOSECONDS

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has moved the clock by `seconds`. Nothing or less only gives way to other tasks."""
        if seconds <= 0:
            await _give_way(1)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + _whole(seconds), next(self._order), woken))
        self._arrival.set()
        await woken

    def randbits(self, bits: int) -> int:
        """The next `bits` bits of the sequence that the seed determines."""
        return self._random.getrandbits(bits)

    async def advance(self, seconds: float) -> None:
        """Move both clocks by `seconds`, waking whoever sleeps on the way, in order and at their own moment.

        Each woken task runs until it waits for something outside this event loop's next turns, so when this returns
        it has done its work or sleeps again. Work in threads isn't waited for. `ValueError` for a negative span.
        """
        if seconds < 0:
            raise ValueError(f"time never goes back: advance({seconds}); jump() moves the wall clock only")
        target = self._elapsed + (_whole(seconds) if seconds else 0)
        await _give_way(_TURNS)  # let tasks that were just created reach their sleep
        while self._sleepers and self._sleepers[0][0] <= target:
            deadline, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self._elapsed = max(self._elapsed, deadline)
                woken.set_result(None)
                await _give_way(_TURNS)
        self._elapsed = max(self._elapsed, target)

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, forwards or back, as a correction of the machine's clock does."""
        self._wall_offset += timedelta(seconds=seconds)

    @property
    def sleeping(self) -> int:
        """How many tasks sleep on this clock now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def until_sleeping(self, tasks: int = 1) -> None:
        """Return once at least `tasks` tasks sleep on this clock: how to wait for work that ends in a sleep.

        Put a deadline around it (`asyncio.timeout`) in a test.
        """
        while self.sleeping < tasks:
            self._arrival.clear()
            await self._arrival.wait()


def _whole(seconds: float) -> int:
    """In nanoseconds; never 0 for a positive span, so that a loop over the rest of a deadline always ends."""
    return max(1, round(seconds * _NANOSECONDS))


async def _give_way(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)  # noqa: TID251 - no time passes: other tasks take their turn
