"""How many requests may be on their way to a service at one time, and who waits for a place."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.gateway.deadlines import Wheel

logger = logging.getLogger("micro.gateway.upstream")


class Waiter(Protocol):
    """Somebody who waits for a slot. Told exactly one of both, unless it withdraws."""

    def admitted(self) -> None:
        """It has a slot now, and gives it back with `Slots.leave`."""
        ...

    def refused(self) -> None:
        """It has waited too long, or the gateway stops: 503, `connection_limit_reached`."""
        ...


class Slots:
    """At most `limit` requests at one time; up to `queue` more wait for `timeout` seconds, first come, first served.

    A slot that is given back goes to the one who has waited longest, at once: nobody who comes later gets in between.
    Waiters are told from within `leave` and `resize`, and by the wheel, up to two of its ticks late.
    """

    __slots__ = (
        "_admitting",
        "_armed",
        "_queue",
        "_timeout",
        "_wheel",
        "active",
        "expired",
        "limit",
        "turned_away",
        "waiting",
    )

    def __init__(self, limit: int, *, queue: int, timeout: float, wheel: Wheel) -> None:
        self.limit = limit
        self.active = 0
        """Slots that are taken."""
        self.expired = 0
        """How many have waited in vain."""
        self.turned_away = 0
        """How many found the queue full."""
        self._queue = queue if timeout > 0 else 0
        self._timeout = timeout
        self._wheel = wheel
        self.waiting: OrderedDict[Waiter, float] = OrderedDict()
        """The queue, with the moments at which its members give up: they come in the same order."""
        self._armed = False
        self._admitting = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self.waiting)

    def enter(self, waiter: Waiter) -> bool:
        """Take a slot, or wait for one: `waiter` is told then.

        Raises `UpstreamError` (`connection_limit_reached`) where no more may wait.
        """
        if self.active < self.limit and not self.waiting:
            self.active += 1
            return True
        if len(self.waiting) >= self._queue:
            self.turned_away += 1
            raise UpstreamError(
                "connection_limit_reached", f"{self.active} requests in flight, and the queue is full"
            )
        self.waiting[waiter] = self._wheel.clock.monotonic() + self._timeout
        self._arm()
        return False

    def withdraw(self, waiter: Waiter) -> bool:
        """Wait no longer. False where `waiter` does not wait (any more): then it has been told."""
        return self.waiting.pop(waiter, None) is not None

    def leave(self) -> None:
        """Give a slot back."""
        self.active -= 1
        if self.waiting:
            self.admit()

    def resize(self, limit: int) -> None:
        """Another limit from now on. Where it is lower, who has a slot keeps it."""
        self.limit = limit
        if self.waiting:
            self.admit()

    def close(self) -> None:
        """Refuse all who wait."""
        while self.waiting:
            waiter, _ = self.waiting.popitem(last=False)
            _tell(waiter.refused)

    def due(self) -> None:
        """See `Timed.due`: refuse those who have waited for too long."""
        self._armed = False
        now = self._wheel.clock.monotonic()
        while self.waiting and next(iter(self.waiting.values())) <= now:
            waiter, _ = self.waiting.popitem(last=False)
            self.expired += 1
            _tell(waiter.refused)
        self._arm()

    def admit(self) -> None:
        """Tell as many as there are slots for."""
        # Called from within `admitted`, it leaves the rest to the loop: waiters that fail at once would pile up.
        if self._admitting:
            return
        self._admitting = True
        try:
            while self.waiting and self.active < self.limit:
                waiter, _ = self.waiting.popitem(last=False)
                self.active += 1
                _tell(waiter.admitted)
        finally:
            self._admitting = False

    def _arm(self) -> None:
        if self.waiting and not self._armed:
            self._armed = True
            self._wheel.add(self, next(iter(self.waiting.values())))


def _tell(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        logger.exception("somebody who waited for a slot could not be told")
