"""The contract suite of the rate limits' window: see `micro.testing.cache`."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING

from micro.cache.ports import Quota
from micro.testing.cache import CacheFixtures

if TYPE_CHECKING:
    from micro.cache.ports import Hit, Window
    from micro.clock import Clock
    from micro.testing.cache import CacheWithWindow


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
