"""The contract suites of the cache ports. Every backend passes them: subclass, name the backend, run pytest.

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
from inspect import isawaitable
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from micro.cache.ports import Cache, Quota, Window
from micro.clock import SystemClock
from micro.ids import new_id
from micro.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from micro.cache.ports import Hit
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

    async def test_closing_twice_is_no_error(self, cache: CacheWithWindow) -> None:
        await cache.close()
        await cache.close()

    async def test_closing_what_was_never_opened_is_no_error(
        self, make: Callable[[], CacheWithWindow]
    ) -> None:
        await make().close()


class WindowContract(CacheFixtures):
    """What `micro.cache.ports.Window` promises."""

    async def hit(self, window: Window, key: str, limit: int, period: float) -> Hit:
        """One hit, whether it answers at once or not; `period` in the suite's units."""
        hit = window.hit(key, limit, period * self.second)
        return await hit if isawaitable(hit) else hit

    async def hit_all(self, window: Window, *quotas: tuple[str, int, float]) -> list[Hit]:
        """One request against several quotas, whether it answers at once or not; periods in the suite's units."""
        hits = window.hit_all([Quota(key, limit, period * self.second) for key, limit, period in quotas])
        return await hits if isawaitable(hits) else hits

    async def test_the_limit_is_allowed_and_no_more(self, cache: CacheWithWindow, key: str) -> None:
        hits = [await self.hit(cache, key, 3, 60) for _ in range(5)]
        assert [hit.allowed for hit in hits] == [True, True, True, False, False]

    async def test_what_remains_counts_down_to_nothing(self, cache: CacheWithWindow, key: str) -> None:
        hits = [await self.hit(cache, key, 3, 60) for _ in range(5)]
        assert [hit.remaining for hit in hits] == [2, 1, 0, 0, 0]

    async def test_hits_at_the_same_moment_are_all_counted(self, cache: CacheWithWindow, key: str) -> None:
        hits = await asyncio.gather(*(self.hit(cache, key, 10, 60) for _ in range(50)))
        assert sum(hit.allowed for hit in hits) == 10

    async def test_keys_have_their_own_quota(self, cache: CacheWithWindow, key: str) -> None:
        for name in ("a", "b", "ä", "a:b"):
            assert (await self.hit(cache, f"{key} {name}", 1, 60)).allowed
            assert not (await self.hit(cache, f"{key} {name}", 1, 60)).allowed

    async def test_a_hit_stops_counting_after_the_period(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        assert (await self.hit(cache, key, 1, 1)).allowed
        await self.elapse(clock, 1)
        assert (await self.hit(cache, key, 1, 1)).allowed

    async def test_the_window_slides_with_the_hits(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        """Two at 0 and two at 3 of a limit of four per 4: at 5 the first two are free again, the others are not."""
        for _ in range(2):
            assert (await self.hit(cache, key, 4, 4)).allowed
        await self.elapse(clock, 3)
        for _ in range(2):
            assert (await self.hit(cache, key, 4, 4)).allowed
        assert not (await self.hit(cache, key, 4, 4)).allowed
        await self.elapse(clock, 2)
        assert [(await self.hit(cache, key, 4, 4)).allowed for _ in range(3)] == [True, True, False]

    async def test_a_refused_hit_is_not_counted(self, cache: CacheWithWindow, key: str, clock: Clock) -> None:
        assert (await self.hit(cache, key, 1, 4)).allowed
        for _ in range(3):
            await self.elapse(clock, 1)
            assert not (await self.hit(cache, key, 1, 4)).allowed
        await self.elapse(clock, 1)
        assert (await self.hit(cache, key, 1, 4)).allowed

    async def test_a_refusal_says_when_one_more_is_allowed(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        await self.hit(cache, key, 2, 4)
        await self.elapse(clock, 1)
        await self.hit(cache, key, 2, 4)
        refused = await self.hit(cache, key, 2, 4)
        assert 0 < refused.reset <= 3 * self.second
        await self.elapse(clock, refused.reset / self.second)
        assert (await self.hit(cache, key, 2, 4)).allowed

    async def test_an_allowed_hit_says_when_the_quota_is_whole_again(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        hit = await self.hit(cache, key, 3, 2)
        assert 0 < hit.reset <= 2 * self.second
        await self.elapse(clock, hit.reset / self.second)
        assert (await self.hit(cache, key, 3, 2)).remaining == 2

    async def test_windows_and_values_of_the_same_name_are_apart(
        self, cache: CacheWithWindow, key: str
    ) -> None:
        await cache.set(key, b"value", ttl=60)
        assert (await self.hit(cache, key, 1, 60)).allowed
        await cache.delete(key)
        assert not (await self.hit(cache, key, 1, 60)).allowed

    async def test_several_quotas_count_one_request_each(self, cache: CacheWithWindow, key: str) -> None:
        quotas = ((f"{key} a", 3, 60), (f"{key} b", 5, 60))
        found = [await self.hit_all(cache, *quotas) for _ in range(3)]
        assert [[hit.allowed for hit in hits] for hits in found] == [[True, True]] * 3
        assert [[hit.remaining for hit in hits] for hits in found] == [[2, 4], [1, 3], [0, 2]]

    async def test_what_one_quota_refuses_counts_against_none(self, cache: CacheWithWindow, key: str) -> None:
        narrow, wide = (f"{key} narrow", 1, 60), (f"{key} wide", 5, 60)
        await self.hit_all(cache, narrow, wide)
        for quotas in ((narrow, wide), (wide, narrow)) * 5:
            hits = dict(zip(quotas, await self.hit_all(cache, *quotas), strict=True))
            assert (hits[narrow].allowed, hits[narrow].remaining) == (False, 0)
            assert (hits[wide].allowed, hits[wide].remaining) == (True, 4)
        assert (await self.hit(cache, *wide)).remaining == 3

    async def test_one_key_counts_the_same_alone_and_among_others(
        self, cache: CacheWithWindow, key: str
    ) -> None:
        both = ((f"{key} a", 3, 60), (f"{key} b", 3, 60))
        assert (await self.hit(cache, *both[0])).remaining == 2
        assert [hit.remaining for hit in await self.hit_all(cache, *both)] == [1, 2]
        assert (await self.hit(cache, *both[1])).remaining == 1

    async def test_quotas_of_different_periods_are_free_again_at_their_own_time(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        """Two in 1 and three in 4: after 1 there is room for one more, after that the longer period is full."""
        quotas = ((f"{key} burst", 2, 1), (f"{key} rate", 3, 4))
        for _ in range(2):
            assert all(hit.allowed for hit in await self.hit_all(cache, *quotas))
        assert [hit.allowed for hit in await self.hit_all(cache, *quotas)] == [False, True]
        await self.elapse(clock, 1)
        assert all(hit.allowed for hit in await self.hit_all(cache, *quotas))
        await self.elapse(clock, 1)
        assert [hit.allowed for hit in await self.hit_all(cache, *quotas)] == [True, False]
        await self.elapse(clock, 2)
        assert all(hit.allowed for hit in await self.hit_all(cache, *quotas))

    async def test_after_the_longest_wait_of_a_refusal_one_more_is_allowed(
        self, cache: CacheWithWindow, key: str, clock: Clock
    ) -> None:
        quotas = ((f"{key} a", 1, 2), (f"{key} b", 1, 4))
        await self.hit_all(cache, *quotas)
        refused = await self.hit_all(cache, *quotas)
        assert [hit.allowed for hit in refused] == [False, False]
        assert 0 < refused[0].reset <= 2 * self.second < refused[1].reset <= 4 * self.second
        await self.elapse(clock, max(hit.reset for hit in refused) / self.second)
        assert all(hit.allowed for hit in await self.hit_all(cache, *quotas))

    async def test_requests_at_the_same_moment_are_counted_by_all_quotas_or_by_none(
        self, cache: CacheWithWindow, key: str
    ) -> None:
        """Two kinds of requests share one quota and have another each: no count gets lost, none is made in vain."""
        shared, first, second = (f"{key} shared", 10, 60), (f"{key} 1", 7, 60), (f"{key} 2", 7, 60)
        found = await asyncio.gather(
            *(self.hit_all(cache, shared, own) for own in (first, second) for _ in range(25))
        )
        passed = [all(hit.allowed for hit in hits) for hits in found]
        assert sum(passed) == 10
        for own, outcomes in ((first, passed[:25]), (second, passed[25:])):
            assert sum(outcomes) <= 7
            left = [await self.hit(cache, *own) for _ in range(8)]
            assert sum(hit.allowed for hit in left) == 7 - sum(outcomes)

    async def test_no_quota_at_all_refuses_nothing(self, cache: CacheWithWindow) -> None:
        assert await self.hit_all(cache) == []
