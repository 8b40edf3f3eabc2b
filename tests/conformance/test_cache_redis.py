"""Redis keeps the contracts of the cache and of the rate limit window, and is missed by nobody when it is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest
from ageing import age

from micro.cache.namespace import Namespace
from micro.cache.ports import Quota
from micro.cache.redis import COOL_DOWN, RedisCache
from micro.clock import SystemClock
from micro.errors import ConfigurationError
from micro.infra.server import free_ports
from micro.infra.valkey import Valkey
from micro.redact import redact_text
from micro.testing import CacheContract, FakeClock, WindowContract

pytestmark = pytest.mark.live

LIMIT = 60.0
"""Seconds after which a test stops waiting; nothing takes anywhere near as long."""
LOADER = """
import asyncio, sys

from micro.cache import redis
from micro.cache.namespace import Namespace
from micro.clock import SystemClock

url, key, count = sys.argv[1:]
redis.TIMEOUT = 60.0


async def load():
    print("loading", flush=True)
    sys.stdin.readline()
    return b"value"


async def main():
    cache = redis.RedisCache(url, clock=SystemClock())
    await cache.open()
    shop = Namespace(cache, "shop", clock=SystemClock())
    asks = (shop.get_or_set(key, load, ttl=600, lock_timeout=600) for _ in range(int(count)))
    print(*{value.decode() for value in await asyncio.gather(*asks)}, flush=True)
    await cache.close()


asyncio.run(main())
"""
"""A process of a service: asks for one key, as often as it is told, and says when it loads and what it got."""


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


async def test_a_burst_of_more_requests_than_connections_is_counted_by_the_server(redis_server):
    one, other = await opened(redis_server), await opened(redis_server)
    hits = await asyncio.gather(*(one.hit("burst", 1000, 60) for _ in range(300)))
    assert all(hit.allowed for hit in hits)
    assert not one.degraded
    assert (await other.hit("burst", 1000, 60)).remaining == 699
    await one.close()
    await other.close()


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


@asynccontextmanager
async def loader(url, key, *, asks=1):
    """A process that runs `LOADER`; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOADER, url, key, str(asks)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Queue(RedisCache):
    """A cache that says when it was refused a lock."""

    def __init__(self, url):
        super().__init__(url, clock=SystemClock())
        self.refused = asyncio.Event()

    async def add(self, key, value, *, ttl):
        added = await super().add(key, value, ttl=ttl)
        if not added:
            self.refused.set()
        return added


async def test_what_all_processes_of_a_service_miss_at_the_same_time_one_of_them_loads(redis_server):
    """A hundred requests in each of two processes, for a value that is never there before all of them have asked."""
    async with (
        loader(redis_server, "report", asks=100) as one,
        loader(redis_server, "report", asks=100) as other,
    ):
        said = {asyncio.create_task(each.stdout.readline()): each for each in (one, other)}
        [first], _ = await asyncio.wait(said, return_when=asyncio.FIRST_COMPLETED)
        assert await first == b"loading\n"
        said[first].stdin.write(b"go on\n")
        loaded = said.pop(first)
        [waits] = said
        assert await waits == b"value\n", "it has loaded nothing"
        assert await loaded.stdout.read() == b"value\n"


async def test_a_process_that_is_killed_while_it_loads_holds_up_nobody_for_longer_than_its_lock(redis_server):
    cache = Queue(redis_server)
    await cache.open()
    spaces = [Namespace(cache, "shop", clock=SystemClock()) for _ in range(3)]
    loads = []

    async def load():
        loads.append(b"value")
        return b"value"

    async with loader(redis_server, "killed") as process:
        assert await process.stdout.readline() == b"loading\n"
        process.kill()
        await process.wait()
        asks = [
            asyncio.create_task(space.get_or_set("killed", load, ttl=600, lock_timeout=600))
            for space in spaces
        ]
        await cache.refused.wait()
        assert loads == []
        await age(redis_server, "micro:*:killed", 600.0, unit=1)
        assert await asyncio.gather(*asks) == [b"value"] * 3
    assert len(loads) == 1
    await cache.close()


async def test_stacks_of_other_names_do_not_meet(redis_server):
    caches = [RedisCache(redis_server, clock=SystemClock(), stack=name) for name in ("shop:1", "shop:2")]
    for cache in caches:
        await cache.open()
        assert await cache.add("key", cache._prefix.encode(), ttl=60)
        assert [(await cache.hit("stacks", 1, 60)).allowed for _ in range(2)] == [True, False]
    assert [await cache.get("key") for cache in caches] == [b"micro:shop:1:", b"micro:shop:2:"]
    for cache in caches:
        await cache.close()


async def test_a_wrong_password_is_one_sentence_without_the_password(redis_server):
    wrong = redis_server.replace(":", ":wrong", 2).replace("redis:wrong", "redis:")
    with pytest.raises(ConfigurationError, match="refuses the user or the password") as caught:
        await opened(wrong)
    said = str(caught.value)
    assert "wrong" not in said
    assert redact_text(said) == said, "what is taken for a password on the way to a terminal is gone there"


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
    assert [await cache.add("key", b"value", ttl=ttl) for ttl in (60, 60, 0)] == [True] * 3
    assert [(await cache.hit("key", 2, 60)).allowed for _ in range(3)] == [True, True, False]
    assert len([record for record in caplog.records if "out of reach" in record.message]) == 1
    await cache.close()


@pytest.mark.parametrize(
    ("gateways", "limit", "each"), [(1, 10, 10), (4, 10, 2), (3, 3, 1), (4, 3, 1), (0, 10, 10), (4, 0, 0)]
)
async def test_without_a_server_each_gateway_allows_its_share_of_a_limit(gateways, limit, each):
    """All of them together allow no more than the limit, but that each allows one."""
    [port] = free_ports(1)
    cache = await opened(f"redis://127.0.0.1:{port}/0")
    cache.gateways = lambda: gateways
    assert cache.share == 1 / max(1, gateways)
    hits = [await cache.hit_all([Quota("key", limit, 60), Quota("wide", 1000, 60)]) for _ in range(15)]
    assert sum(narrow.allowed for narrow, _ in hits) == each
    assert [narrow.remaining for narrow, _ in hits] == [max(0, each - 1 - number) for number in range(15)]
    await cache.close()


async def test_a_gateway_s_share_is_as_large_as_there_are_others_at_that_moment():
    [port] = free_ports(1)
    cache = await opened(f"redis://127.0.0.1:{port}/0")
    known = [1]
    cache.gateways = lambda: len(known)
    assert [(await cache.hit("key", 4, 60)).allowed for _ in range(3)] == [True] * 3
    known.append(2)
    assert not (await cache.hit("key", 4, 60)).allowed
    known.pop()
    assert (await cache.hit("key", 4, 60)).allowed
    await cache.close()


async def test_a_server_that_hangs_costs_one_timeout_and_then_nothing_until_it_is_tried_again(
    tmp_path, freeze, monkeypatch
):
    monkeypatch.setattr("micro.cache.redis.TIMEOUT", 2.0)
    clock = FakeClock()
    server = Valkey(tmp_path, clock=SystemClock())
    await server.start(lambda text: None)
    cache = await opened(server.url(server.record), clock)
    cache.gateways = lambda: 2
    try:
        assert (cache.degraded, cache.share) == (False, 1.0)
        await freeze(server.pid)
        assert (await cache.hit("key", 5, 60)).allowed
        assert (cache.degraded, cache.share) == (True, 0.5)
        async with asyncio.timeout(0):
            assert [(await cache.hit("key", 5, 60)).allowed for _ in range(10)].count(True) == 1
        os.kill(server.pid, signal.SIGCONT)
        async with asyncio.timeout(60):
            while await cache.get("key") != b"back":
                await clock.advance(COOL_DOWN)
                await cache.set("key", b"back", ttl=60)
        assert (cache.degraded, cache.share) == (False, 1.0)
        assert [(await cache.hit("key", 5, 60)).allowed for _ in range(10)].count(True) == 5
    finally:
        os.kill(server.pid, signal.SIGCONT)
        await cache.close()
        await server.stop()
