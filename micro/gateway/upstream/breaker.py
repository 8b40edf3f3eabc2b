"""A circuit breaker: who fails most of the time is left alone, until a single request shows that it is well again.

    closed ──most of the window's requests failed──▶ open ──`open` seconds──▶ half-open ──the trial succeeds──▶ closed
                                                       ▲                          │
                                                       └──────the trial fails─────┘

(M. Nygard, "Release It!", 2007; the rate over a window instead of a plain count is common since Hystrix.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.upstream.window import Window

if TYPE_CHECKING:
    from micro.spec.upstream import BreakerSpec

# Plain numbers: to read a member of an enumeration costs more than a call.
CLOSED, OPEN, HALF_OPEN = range(3)


class Breaker:
    """The decisions about one instance or one route. Its owner reads the clock, and counts every request that ends.

    A trial that does not end holds the others up for `open` seconds at most: then another one may go.
    """

    __slots__ = ("__weakref__", "_least", "_open", "_rate", "_since", "state", "until", "window")

    def __init__(self, spec: BreakerSpec) -> None:
        self._rate, self._least, self._open = spec.failure_rate, max(1, spec.requests), spec.open
        self.window = Window(spec.window)
        self.state = CLOSED
        self.until = 0.0
        """The moment from which on a trial may go, where it is not closed."""
        self._since = 0.0
        """Requests that began before this moment are not the trial."""

    def admits(self, now: float) -> bool:
        """Whether a request may go now."""
        return self.state == CLOSED or now >= self.until

    def tried(self, now: float) -> None:
        """A request goes, though the breaker is not closed: the trial."""
        if self.state == OPEN:
            # No request began while it was open: halfway is far from the last one before, and from the trial.
            self._since = self.until - self._open / 2
        self.state = HALF_OPEN
        self.until = now + self._open

    def ended(self, now: float, began: float, *, failed: bool | None) -> bool:
        """Count a request that began at `began`, `None` where its end says nothing. Whether the breaker has changed.

        Requests from before it opened say nothing new, and don't count.
        """
        if self.state == CLOSED:
            if failed is None:
                return False
            window = self.window
            if now >= window.turn:
                window.roll(now)
            window.requests += 1
            return failed and self._failed(now)
        if self.state == OPEN or began < self._since:
            return False
        if failed is None:
            self.until = now
        elif failed:
            self._trip(now)
        else:
            self.state = CLOSED
            self.window.clear()
        return True

    def wait(self, now: float) -> float:
        """Seconds until a request may go; 0 where one may."""
        return 0.0 if self.state == CLOSED else max(0.0, self.until - now)

    def _failed(self, now: float) -> bool:
        window = self.window
        window.marked += 1
        few = window.requests < self._least or window.marked * 100 < self._rate * window.requests
        if few or not self._rate:
            return False
        self._trip(now)
        return True

    def _trip(self, now: float) -> None:
        self.state = OPEN
        self.until = now + self._open
