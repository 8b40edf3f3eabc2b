"""Whether a request is sent again, and after which wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.clock import uniform
from micro.gateway.upstream.window import Window

if TYPE_CHECKING:
    from micro.clock import Clock
    from micro.spec.upstream import RetrySpec

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 section 9.2.2."""

SPAN = 10.0
"""Seconds whose requests a budget is reckoned from."""
LEAST = 3
"""Retries in these seconds that are always allowed, or a small gateway would have none."""


def is_repeatable(method: str, *, sent: bool, at_hand: bool) -> bool:
    """Whether a request may be sent again without asking its client (RFC 9110 section 9.2.2).

    `sent`: a byte of it may have reached an instance. `at_hand`: what came of its body is still there.
    """
    return at_hand and (not sent or method in IDEMPOTENT)


def jittered(spec: RetrySpec, tries: int, clock: Clock) -> float:
    """Seconds to wait before a request that was sent `tries` times is sent again.

    Drawn from 0 up to `base` doubled with every try, `cap` at most ("full jitter": M. Brooker, "Exponential Backoff
    and Jitter", 2015), so that requests which failed together don't come back together.
    """
    return uniform(clock) * min(spec.cap, spec.base * 2.0 ** min(tries - 1, 32))


class Budget:
    """Keeps retries from multiplying the load of an outage: so many for the requests of the last ten seconds."""

    __slots__ = ("_percent", "window")

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self.window = Window(SPAN)

    def count(self, now: float) -> None:
        """A try has ended: a request's first one, or a retry."""
        window = self.window
        if now >= window.turn:
            window.roll(now)
        window.requests += 1

    def draw(self, now: float) -> bool:
        """Take a retry out, if there is one."""
        window = self.window
        if now >= window.turn:
            window.roll(now)
        if window.marked >= max(LEAST, (window.requests - window.marked) * self._percent // 100):
            return False
        window.marked += 1
        return True
