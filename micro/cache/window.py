"""A sliding window in memory: the moments of the requests that were allowed, per key."""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING

from micro.cache.ports import Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.cache.ports import Quota
    from micro.clock import Clock

_CANDIDATES = 8
"""How many of the least recently hit keys are looked at when one has to go."""


class _Log:
    """The allowed requests of one key, oldest first."""

    __slots__ = ("hits", "idle_at")

    def __init__(self) -> None:
        self.hits: deque[float] = deque()
        self.idle_at = 0.0
        """When the last of them leaves its window: from then on, forgetting the key changes nothing."""


class SlidingWindow:
    """`micro.cache.ports.Window` in one process: exact, because it keeps every hit that still counts.

    Memory is bounded by `max_keys` keys and `max_hits` hits in all. When there are more, keys go that are idle; only
    where every key that was hit longest ago is still in use does one of those start anew, the one that would be idle
    first. So flooding it with new keys costs as many requests as there are keys before a busy key is forgotten.
    """

    __slots__ = ("_held", "_latest", "_logs", "_max_hits", "_max_keys", "_monotonic")

    def __init__(self, *, clock: Clock, max_keys: int = 10_000, max_hits: int = 1_000_000) -> None:
        self._monotonic = clock.monotonic
        self._max_keys = max_keys
        self._max_hits = max_hits
        self._logs: OrderedDict[str, _Log] = OrderedDict()
        """The key that was hit last comes last."""
        self._latest: str | None = None
        """That key."""
        self._held = 0

    def hit(self, key: str, limit: int, period: float) -> Hit:
        """See `micro.cache.ports.Window.hit`. A hit leaves the window exactly `period` seconds after it was made."""
        monotonic = self._monotonic  # a callable kept in a slot is called faster by a name
        now = monotonic()
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = _Log()
            self._latest = key
            if len(self._logs) > self._max_keys:
                self._make_room()
        elif key is not self._latest:
            self._logs.move_to_end(key)
            self._latest = key
        hits = log.hits
        left = now - period
        while hits and hits[0] <= left:
            hits.popleft()
            self._held -= 1
        remaining = limit - len(hits)
        if remaining <= 0:
            return Hit(False, 0, _until_free(hits, limit, period, now))
        hits.append(now)
        log.idle_at = now + period
        self._held += 1
        if self._held > self._max_hits:
            self._make_room()
        return Hit(True, remaining - 1, period)

    def hit_all(self, quotas: Sequence[Quota]) -> list[Hit]:
        """See `micro.cache.ports.Window.hit_all`. Nothing else runs in between, so it is one step."""
        now = self._monotonic()
        logs = [self._current(key, now - period) for key, _, period in quotas]
        self._make_room(len(logs))
        for log, (_, limit, _) in zip(logs, quotas, strict=True):
            if len(log.hits) >= limit:
                return [_seen(log.hits, quota, now) for log, quota in zip(logs, quotas, strict=True)]
        outcomes = []
        for log, (_, limit, period) in zip(logs, quotas, strict=True):
            log.hits.append(now)
            log.idle_at = now + period
            outcomes.append(Hit(True, limit - len(log.hits), period))
        self._held += len(logs)
        self._make_room(len(logs))
        return outcomes

    def _current(self, key: str, left: float) -> _Log:
        """The log of a key, now the latest one, without the hits up to the moment `left`."""
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = _Log()
        self._logs.move_to_end(key)
        self._latest = key
        while log.hits and log.hits[0] <= left:
            log.hits.popleft()
            self._held -= 1
        return log

    def clear(self) -> None:
        """Forget every key."""
        self._logs.clear()
        self._latest = None
        self._held = 0

    def _make_room(self, latest: int = 1) -> None:
        """Forget keys until the bounds hold; so many of the latest ones stay in any case."""
        while len(self._logs) > latest and (self._held > self._max_hits or len(self._logs) > self._max_keys):
            older = islice(self._logs.items(), min(_CANDIDATES, len(self._logs) - latest))
            key, _ = min(older, key=_idle_at)
            self._held -= len(self._logs.pop(key).hits)


def _idle_at(entry: tuple[str, _Log]) -> float:
    return entry[1].idle_at


def _until_free(hits: deque[float], limit: int, period: float, now: float) -> float:
    """Seconds until one more is allowed, where the limit is used up, or more than that since it was lowered."""
    return hits[len(hits) - limit] + period - now if limit else period


def _seen(hits: deque[float], quota: Quota, now: float) -> Hit:
    """What a quota says of a request that isn't counted."""
    _, limit, period = quota
    if len(hits) >= limit:
        return Hit(False, 0, _until_free(hits, limit, period, now))
    return Hit(True, limit - len(hits), hits[-1] + period - now if hits else 0.0)
