"""Redis keeps the contracts of the cache and of the rate limit window, and is missed by nobody when it is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest
from ageing import age

from micro.cache.ports import Quota
from micro.cache.redis import COOL_DOWN, RedisCache
from micro.clock import SystemClock
from micro.errors import ConfigurationError
from micro.infra.server import free_ports
from micro.infra.valkey import Valkey
from micro.testing import CacheContract, FakeClock, WindowContract

pytestmark = pytest.mark.live


class TestRedis(CacheContract, WindowContract):
    second = 16.0

    @pytest.fixture(autouse=True)
    def _url(self, redis_server):
        self.url = redis_server

    @pytest.fixture
    def clock(self):
        return SystemClock()

    async def elapse(self, clock, seconds):
        await age(self.url, "micro:*:key-*", seconds * self.second, unit=1_000_000)

    @pytest.fixture
    def make(self, redis_server, clock):
        return lambda: RedisCache(redis_server, clock=clock)


async def opened(url, clock=None):
    cache = RedisCache(url, clock=clock or SystemClock())
    await cache.open()
    return cache


async def test_gateways_share_one_window(redis_server):
    caches = [await opened(redis_server) for _ in range(3)]
    hits = await asyncio.gather(*(cache.hit("shared", 20, 60) for _ in range(15) for cache in caches))
    assert sum(hit.allowed for hit in hits) == 20
    for cache in caches:
        await cache.close()


async def test_several_limits_count_together_or_not_at_all(redis_server):
    cache = await opened(redis_server)
    quotas = [Quota("narrow", 1, 60.0), Quota("wide", 5, 60.0)]
    assert [hit.allowed for hit in await cache.hit_all(quotas)] == [True, True]
    narrow, wide = await cache.hit_all(quotas)
    assert (narrow.allowed, wide.allowed, wide.remaining) == (False, True, 4)
    await cache.close()


async def test_stacks_with_their_own_prefix_do_not_meet(redis_server):
    one, other = await opened(f"{redis_server}?prefix=one:"), await opened(f"{redis_server}?prefix=other:")
    await one.set("key", b"value", ttl=60)
    assert await other.get("key") is None
    assert (await one.hit("key", 1, 60)).allowed
    assert (await other.hit("key", 1, 60)).allowed
    await one.close()
    await other.close()


async def test_a_wrong_password_is_one_sentence_without_the_password(redis_server):
    wrong = redis_server.replace(":", ":wrong", 2).replace("redis:wrong", "redis:")
    with pytest.raises(ConfigurationError, match="refuses the user or the password") as caught:
        await opened(wrong)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:s3cr3t/0", "redis://:s3cr3t#@h/0", "redis://h:6379/s3cr3t"]
)
def test_a_malformed_url_says_how_to_write_it_and_nothing_of_what_may_be_a_password(url):
    with pytest.raises(ConfigurationError, match=r"write (redis://|% : / \? # @ as)") as caught:
        RedisCache(url, clock=SystemClock())
    assert "s3cr3t" not in str(caught.value)


async def test_without_a_server_values_are_absent_and_this_process_counts(caplog):
    [port] = free_ports(1)
    caplog.set_level(logging.WARNING)
    cache = await opened(f"redis://127.0.0.1:{port}/0")
    assert cache.degraded
    await cache.set("key", b"value", ttl=60)
    await cache.delete("key")
    assert await cache.get("key") is None
    assert [(await cache.hit("key", 2, 60)).allowed for _ in range(3)] == [True, True, False]
    assert len([record for record in caplog.records if "out of reach" in record.message]) == 1
    await cache.close()


async def test_a_server_that_hangs_costs_one_timeout_and_then_nothing_until_it_is_tried_again(
    tmp_path, freeze, monkeypatch
):
    monkeypatch.setattr("micro.cache.redis.TIMEOUT", 2.0)
    clock = FakeClock()
    server = Valkey(tmp_path, clock=SystemClock())
    await server.start(lambda text: None)
    cache = await opened(server.url(server.record), clock)
    try:
        assert not cache.degraded
        await freeze(server.pid)
        assert (await cache.hit("key", 5, 60)).allowed
        assert cache.degraded
        async with asyncio.timeout(0):
            assert [(await cache.hit("key", 5, 60)).allowed for _ in range(10)].count(True) == 4
        os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(60):
            while await cache.get("key") != b"back":
                await clock.advance(COOL_DOWN)
                await cache.set("key", b"back", ttl=60)
        assert not cache.degraded
    finally:
        os.kill(server.pid, signal.SIGCONT)
        await cache.close()
        await server.stop()
