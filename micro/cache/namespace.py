"""A part of a cache with keys of its own, as every service has one; what many miss there at once is loaded once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from micro.cache.ports import Cache
    from micro.clock import Clock

LOOK = 0.05
"""Seconds between two looks at what another process loads."""


class _Load:
    """One load that is under way, and how many wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, work: Coroutine[None, None, bytes]) -> None:
        self.task = asyncio.create_task(work)
        self.waiting = 0


class Namespace:
    """The keys of one owner in a cache that others use, too: nobody sees another's.

    Values are bytes and may be gone at any time; while the cache is out of reach, all are.
    """

    def __init__(self, cache: Cache, name: str, *, clock: Clock) -> None:
        """Owners of one cache have different names, without ``:`` and ``/``."""
        self._cache = cache
        self._name = name
        self._clock = clock
        self._loads: dict[str, _Load] = {}

    async def get(self, key: str) -> bytes | None:
        """The value, or nothing when it was never set, has expired or was evicted."""
        return await self._cache.get(f"{self._name}:{key}")

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep `value` for at most `ttl` seconds. Raises `TypeError` for what is not bytes."""
        if not isinstance(value, bytes):
            raise TypeError(f"a cache keeps bytes, and {key!r} was to be {type(value).__name__}")
        await self._cache.set(f"{self._name}:{key}", value, ttl=ttl)

    async def delete(self, key: str) -> None:
        """Forget a key; no error when there is none."""
        await self._cache.delete(f"{self._name}:{key}")

    async def get_or_set(
        self, key: str, load: Callable[[], Awaitable[bytes]], *, ttl: float, lock_timeout: float = 5.0
    ) -> bytes:
        """The value or, where it is missing, what `load` gives, kept for at most `ttl` seconds.

        Of those who miss it at the same time one loads, and the others wait for that. In this process they get what it
        gets, an error too, which is not kept. Other processes wait for no longer than twice `lock_timeout` seconds, and go
        on without one that has ended: give it more than a load takes. Where the cache is out of reach, each process loads.

        Who is cancelled waits no more; the load goes on for the others, and is cancelled when nobody waits for it.
        """
        value = await self.get(key)
        if value is not None:
            return value
        found = self._loads.get(key)
        if found is None:
            found = self._loads[key] = _Load(self._load(key, load, ttl=ttl, lock_timeout=lock_timeout))
        found.waiting += 1
        try:
            return await asyncio.shield(found.task)
        finally:
            found.waiting -= 1
            if not found.waiting:
                del self._loads[key]
                found.task.cancel()  # nothing happens to one that is done

    async def _load(
        self, key: str, load: Callable[[], Awaitable[bytes]], *, ttl: float, lock_timeout: float
    ) -> bytes:
        lock = f"{self._name}/lock:{key}"
        asked = self._clock.monotonic()
        # One lock may have been left by a process that has ended; the next is its successor's.
        until = asked + 2 * lock_timeout
        while not await self._cache.add(lock, b"1", ttl=lock_timeout):
            if asked >= until:
                return await self._make(key, load, ttl)
            await self._clock.sleep(LOOK)
            value = await self.get(key)
            if value is not None:
                return value
            asked = self._clock.monotonic()
        try:
            value = await self.get(key)  # it may have come between the look and the lock
            return await self._make(key, load, ttl) if value is None else value
        finally:
            if self._clock.monotonic() - asked < lock_timeout:  # later it is another's
                await self._cache.delete(lock)

    async def _make(self, key: str, load: Callable[[], Awaitable[bytes]], ttl: float) -> bytes:
        value = await load()
        await self.set(key, value, ttl=ttl)
        return value
