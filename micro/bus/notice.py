"""A state that lasts, said in the log: when it begins, now and then while it lasts, and when it is over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from micro.clock import Clock

AGAIN = 60.0
"""Seconds between two lines while it lasts."""


class Notice:
    """One such state. `reason` is the latest word on it, nothing while all is well."""

    def __init__(self, what: str, *, over: str, log: logging.Logger, clock: Clock) -> None:
        self._what = what
        self._over = over
        self._log = log
        self._clock = clock
        self._said_at = -math.inf
        self.reason: str | None = None

    def lasts(self, reason: str) -> None:
        """It has begun, or goes on."""
        self.reason = reason
        now = self._clock.monotonic()
        if now - self._said_at >= AGAIN:
            self._said_at = now
            self._log.warning("%s: %s", self._what, reason)

    def ends(self) -> None:
        """All is well."""
        if self.reason is not None:
            self.reason, self._said_at = None, -math.inf
            self._log.info("%s", self._over)
