"""Chance at a fraction of the cost of drawing each number by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.clock import Clock

_BATCH = 128
"""Numbers that are drawn from the clock at once."""


class Chance:
    """Uniformly distributed numbers from the clock, drawn in batches."""

    __slots__ = ("_clock", "_drawn")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._drawn: list[int] = []

    def bits(self) -> int:
        """A number of 32 bits."""
        if not self._drawn:
            drawn = self._clock.randbits(32 * _BATCH).to_bytes(4 * _BATCH, "little")
            self._drawn = memoryview(drawn).cast("I").tolist()
        return self._drawn.pop()

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self.bits() / (1 << 32)
