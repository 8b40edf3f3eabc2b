"""The cache for development: values and rate limits of one process."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, ClassVar

from micro.cache.ports import CacheFeatures
from micro.cache.window import SlidingWindow

if TYPE_CHECKING:
    from micro.clock import Clock


class MemoryCache(SlidingWindow):
    """`micro.cache.ports.Cache` and `micro.cache.ports.Window` in memory. `url` is ``memory:`` and says nothing more.

    Holds at most `max_entries` values and `max_bytes` of them in all; the least recently used go first, and a value
    larger than that is not kept. Limits of the window: see `micro.cache.window.SlidingWindow`.
    """

    features: ClassVar[CacheFeatures] = CacheFeatures(
        shared_by_processes=False, bounded=True, survives_restart=False
    )

    def __init__(
        self, url: str, *, clock: Clock, max_entries: int = 10_000, max_bytes: int = 64 * 1024 * 1024
    ) -> None:
        super().__init__(clock=clock, max_keys=max_entries)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    async def open(self) -> None:
        """Nothing to acquire."""

    async def close(self) -> None:
        """Forget everything. Idempotent."""
        self._entries.clear()
        self._bytes = 0
        self.clear()

    async def get(self, key: str) -> bytes | None:
        """See `micro.cache.ports.Cache.get`. Counts as a use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if expires <= self._monotonic():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """See `micro.cache.ports.Cache.set`. The value expires exactly `ttl` seconds from now."""
        self._forget(key)
        if ttl <= 0 or len(value) > self._max_bytes:
            return
        self._entries[key] = (value, self._monotonic() + ttl)
        self._bytes += len(value)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        """See `micro.cache.ports.Cache.add`. Nothing else runs in between, so it is one step."""
        if await self.get(key) is not None:
            return False
        await self.set(key, value, ttl=ttl)
        return True

    async def delete(self, key: str) -> None:
        """See `micro.cache.ports.Cache.delete`."""
        self._forget(key)

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0])
