"""The contract suite of the cache, and what both suites of its ports have in common.

Every backend passes them: subclass, name the backend, run pytest.

    class TestMyCache(CacheContract, WindowContract):
        @pytest.fixture
        def make(self, clock):
            return lambda: MyCache("mycache:", clock=clock)

A backend whose time is not a `Clock`'s (a server) overrides `clock` with a `SystemClock`; the suite then really waits,
about `second` seconds at a time. Needs pytest-asyncio in its ``auto`` mode. What a backend doesn't promise in its
features is skipped by name.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from micro.cache.namespace import Namespace
from micro.cache.ports import Cache, Window
from micro.clock import SystemClock
from micro.ids import new_id
from micro.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from micro.clock import Clock


class CacheWithWindow(Cache, Window, Protocol):
    """A backend of both ports."""


class CacheFixtures:
    """What the tests of both suites are given."""

    second: ClassVar[float] = 1.0
    """The unit of time in the tests. A power of two keeps sums exact; shorter where the suite really waits."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock that the backend goes by."""
        return FakeClock()

    @pytest.fixture
    def make(self) -> Callable[[], CacheWithWindow]:
        """Constructs a backend, without opening it; every time on the same data where that is shared."""
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    async def cache(self, make: Callable[[], CacheWithWindow]) -> AsyncIterator[CacheWithWindow]:
        """An open backend."""
        cache = make()
        await cache.open()
        yield cache
        await cache.close()

    @pytest.fixture
    def key(self) -> str:
        """A key that no other test uses."""
        return f"key-{new_id(SystemClock())}"

    async def elapse(self, clock: Clock, seconds: float) -> None:
        """Let `seconds` of the suite's units pass."""
        await (clock.advance if isinstance(clock, FakeClock) else clock.sleep)(seconds * self.second)


class CacheContract(CacheFixtures):
    """What `micro.cache.ports.Cache` promises."""

    async def test_a_key_that_was_never_set_has_no_value(self, cache: CacheWithWindow, key: str) -> None:
        assert await cache.get(key) is None

    @pytest.mark.parametrize("value", [b"", b"value", bytes(range(256)), b"x" * 100_000], ids=len)
    async def test_a_value_comes_back_as_it_went_in(
        self, cache: CacheWithWindow, key: str, value: bytes
    ) -> None:
        await cache.set(key, value, ttl=60)
        assert await cache.get(key) == value

    async def test_setting_again_replaces_value_and_time_to_live(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        await cache.set(key, b"old", ttl=self.second)
        await cache.set(key, b"new", ttl=60)
        await self.elapse(clock, 2)
        assert await cache.get(key) == b"new"

    async def test_a_value_is_gone_after_its_time_to_live(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        await cache.set(key, b"value", ttl=2 * self.second)
        await self.elapse(clock, 1)
        assert await cache.get(key) == b"value", "reading does not prolong"
        await self.elapse(clock, 1)
        assert await cache.get(key) is None

    @pytest.mark.parametrize("ttl", [0, -1])
    async def test_without_time_to_live_nothing_is_kept(
        self, cache: CacheWithWindow, key: str, ttl: float
    ) -> None:
        await cache.set(key, b"old", ttl=60)
        await cache.set(key, b"new", ttl=ttl)
        assert await cache.get(key) is None

    async def test_a_deleted_key_has_no_value(self, cache: CacheWithWindow, key: str) -> None:
        await cache.set(key, b"value", ttl=60)
        await cache.delete(key)
        assert await cache.get(key) is None

    async def test_deleting_what_is_not_there_is_no_error(self, cache: CacheWithWindow, key: str) -> None:
        await cache.delete(key)

    async def test_keys_do_not_disturb_each_other(self, cache: CacheWithWindow, key: str) -> None:
        keys = [f"{key} {suffix}" for suffix in ("a", "b", "ä", "🔑", "a:b", "*")]
        await asyncio.gather(*(cache.set(name, name.encode(), ttl=60) for name in keys))
        assert await asyncio.gather(*(cache.get(name) for name in keys)) == [name.encode() for name in keys]

    async def test_another_user_sees_the_same_values(
        self, cache: CacheWithWindow, key: str, make: Callable[[], CacheWithWindow]
    ) -> None:
        if not cache.features.shared_by_processes:
            pytest.skip("not promised: shared_by_processes")
        other = make()
        await other.open()
        await cache.set(key, b"value", ttl=60)
        assert await other.get(key) == b"value"
        await other.close()

    async def test_of_several_that_add_a_key_one_is_told_that_it_had_no_value(
        self, cache: CacheWithWindow, key: str
    ) -> None:
        values = [b"%d" % number for number in range(20)]
        added = await asyncio.gather(*(cache.add(key, value, ttl=60) for value in values))
        assert added.count(True) == 1
        assert await cache.get(key) == values[added.index(True)]

    async def test_a_key_is_added_again_when_its_value_is_gone_and_not_kept_longer_meanwhile(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        assert await cache.add(key, b"first", ttl=self.second)
        assert not await cache.add(key, b"second", ttl=60)
        assert not await cache.add(key, b"second", ttl=0)
        assert await cache.get(key) == b"first"
        await self.elapse(clock, 1)
        assert await cache.add(key, b"second", ttl=60)
        await cache.delete(key)
        assert await cache.add(key, b"third", ttl=0)
        assert await cache.get(key) is None

    async def test_owners_of_namespaces_do_not_see_each_other_s_keys(
        self, cache: CacheWithWindow, key: str
    ) -> None:
        one, other = (Namespace(cache, name, clock=SystemClock()) for name in ("one", "other"))
        await one.set(key, b"value", ttl=60)
        assert await other.get(key) is None
        await other.delete(key)
        assert await one.get(key) == b"value"

    async def test_of_all_that_miss_a_value_at_the_same_time_one_loads_it(
        self, cache: CacheWithWindow, key: str, make: Callable[[], CacheWithWindow]
    ) -> None:
        """Several users each: of one process where no others see its values, as if of several otherwise."""
        loads = []

        async def load() -> bytes:
            loads.append(key)
            for _ in range(10):
                assert await cache.get(f"another {key}") is None
            return b"value"

        async with AsyncExitStack() as opened:
            users = [cache]
            for _ in range(2):
                user = make() if cache.features.shared_by_processes else cache
                if user is not cache:
                    await user.open()
                    opened.push_async_callback(user.close)
                users.append(user)
            spaces = [Namespace(user, "tests", clock=SystemClock()) for user in users]
            found = await asyncio.gather(
                *(space.get_or_set(key, load, ttl=60, lock_timeout=60) for space in spaces for _ in range(20))
            )
        assert (len(loads), set(found)) == (1, {b"value"})

    async def test_closing_twice_is_no_error(self, cache: CacheWithWindow) -> None:
        await cache.close()
        await cache.close()

    async def test_closing_what_was_never_opened_is_no_error(
        self, make: Callable[[], CacheWithWindow]
    ) -> None:
        await make().close()
