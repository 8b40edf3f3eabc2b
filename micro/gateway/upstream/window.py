"""What happened in the last seconds, in a fixed number of counters."""

from __future__ import annotations

from collections import deque

SLOTS = 10
"""Counters of a window, whatever the traffic."""
_SHORTEST = 0.001
"""Seconds of a slot, at least."""


class Window:
    """How many requests there were in the last `span` seconds, and how many of them are marked: as failed, as retries.

    What is counted is forgotten in tenths of the span, so a window covers nine to ten tenths of it. To count:
    `if now >= window.turn: window.roll(now)`, then add to `requests` and `marked`.
    """

    __slots__ = ("_past", "_step", "marked", "requests", "turn")

    def __init__(self, span: float) -> None:
        self._step = max(span / SLOTS, _SHORTEST)
        self._past: deque[tuple[int, int]] = deque(maxlen=SLOTS - 1)
        """What the slots before the present one have counted."""
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._past.clear()
        self.requests = 0
        self.marked = 0
        self.turn = float("-inf")
        """The moment from which on the window must `roll` before it is read or added to."""

    def roll(self, now: float) -> None:
        """Forget what is older than the span. Before its `turn` a window has nothing to forget."""
        ended = min(SLOTS, (now - self.turn) / self._step + 1)
        if ended >= SLOTS:
            self.clear()
            self.turn = now + self._step
            return
        past = self._past
        before = [sum(counted) for counted in zip(*past, strict=True)] or [0, 0]
        past.append((self.requests - before[0], self.marked - before[1]))
        past.extend((0, 0) for _ in range(int(ended) - 1))
        self.requests = sum(requests for requests, _ in past)
        self.marked = sum(marked for _, marked in past)
        self.turn += int(ended) * self._step
