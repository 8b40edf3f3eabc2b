"""Time and randomness as an argument.

Nothing else in micro reads a clock, sleeps or draws a random number, so a test that passes `micro.testing.FakeClock`
decides when time passes and what chance says.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, how to wait, and where chance comes from."""

    def now(self) -> datetime:
        """The wall clock, in UTC. May jump; never use it to measure a span."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin. Never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's monotonic time. Cancellable."""
        ...

    def randbits(self, bits: int) -> int:
        """A uniformly distributed integer of `bits` bits, unpredictable in the system clock."""
        ...


class SystemClock:
    """The machine's clock and its entropy."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """See `Clock.monotonic`. It is read several times a request: so without a call in between."""

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)

    def randbits(self, bits: int) -> int:
        """See `Clock.randbits`."""
        return secrets.randbits(bits)


def rfc3339(moment: datetime) -> str:
    """`moment` as RFC 3339 UTC with milliseconds: ``2026-01-01T00:00:00.000Z``. Sorts as text."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def uniform(clock: Clock) -> float:
    """A random number in [0, 1) with 53 bits, from `clock`."""
    return clock.randbits(53) / (1 << 53)
