"""Request ids and trace ids at a fraction of the cost of drawing each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.clock import Clock

_BATCH = 64
"""How many ids' worth of randomness are drawn from the clock at once."""
_DIGITS = 68
"""Hexadecimal digits that one request may use: 20 of its id, 32 of the trace, 16 of the span."""
_NONE, _ONE = "0" * 16, "0" * 15 + "1"
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_FRESH = 0.0005
"""Seconds for which a reading of the wall clock is good enough: half the resolution of a UUIDv7."""


class Ids:
    """Makes the ids of `micro.ids` from randomness drawn in advance. For one event loop."""

    __slots__ = ("_clock", "_noise", "_prefix", "_read_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noise: list[str] = []
        self._read_at = float("-inf")
        self._prefix = ""

    def make(self, moment: float) -> tuple[str, str]:
        """A request id and a new trace, not sampled; `moment` is the monotonic time.

        They have the forms of `micro.ids.new_id` and `new_traceparent`. The time in the id is at most half a
        millisecond old.
        """
        if moment - self._read_at >= _FRESH:
            self._read_clock(moment)
        noise = self._noise.pop() if self._noise else self._draw()
        return (
            f"{self._prefix}{noise[:3]}-{_VARIANT[noise[3]]}{noise[4:7]}-{noise[7:19]}",
            f"00-{noise[20:52]}-{noise[52:]}-00",
        )

    def span_id(self) -> str:
        """16 hexadecimal digits, not all zero."""
        return (self._noise.pop() if self._noise else self._draw())[52:]

    def _read_clock(self, moment: float) -> None:
        stamp = f"{int(self._clock.now().timestamp() * 1000) & 0xFFFF_FFFF_FFFF:012x}"
        self._read_at, self._prefix = moment, f"{stamp[:8]}-{stamp[8:]}-7"

    def _draw(self) -> str:
        size = _DIGITS * _BATCH
        drawn = f"{self._clock.randbits(size * 4):0{size}x}"
        if _NONE in drawn:  # an id of zeros would mean that there is none, however unlikely it is
            drawn = drawn.replace(_NONE, _ONE)
        self._noise = [drawn[start : start + _DIGITS] for start in range(0, size, _DIGITS)]
        return self._noise.pop()
