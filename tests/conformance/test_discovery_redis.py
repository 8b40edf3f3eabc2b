"""Redis keeps the contract of discovery, and says when it is away."""

from __future__ import annotations

import pytest
import redis.asyncio as driver
from ageing import age

from micro.clock import SystemClock
from micro.discovery.ports import Place, Places
from micro.discovery.redis import RedisDiscovery
from micro.errors import DiscoveryUnavailable
from micro.infra.server import free_ports
from micro.testing import DiscoveryContract

pytestmark = pytest.mark.live


class TestRedis(DiscoveryContract):
    lease = 60.0

    @pytest.fixture(autouse=True)
    def _url(self, redis_server):
        self.url = redis_server

    @pytest.fixture
    def clock(self):
        return SystemClock()

    async def elapse(self, clock, leases):
        await age(self.url, "micro:discovery:{tests}:*", leases * self.lease, unit=1000)

    @pytest.fixture
    def make(self, redis_server, clock):
        return lambda: RedisDiscovery(redis_server, clock=clock, stack="tests", lease=self.lease)


async def test_stacks_of_other_names_and_prefixes_do_not_meet(redis_server):
    place = Place("task", "task-1", "http://10.0.0.5:9000", "host/origin")
    lists = [
        RedisDiscovery(redis_server, clock=SystemClock(), stack="one"),
        RedisDiscovery(redis_server, clock=SystemClock(), stack="other"),
        RedisDiscovery(f"{redis_server}?prefix=apart:", clock=SystemClock(), stack="one"),
    ]
    for each in lists:
        await each.open()
    await lists[0].register(place)
    assert [len((await each.places()).here) for each in lists] == [1, 0, 0]
    for each in lists:
        await each.close()


@pytest.mark.parametrize(
    "foreign",
    [
        b"hello",
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'["task","task-1","http://10.0.0.6:9000"]',
        b'["task","task-1","http://10.0.0.6:9000","origin",1]',
        b'["task","task-1",7,"origin"]',
        b'["task","task-1","10.0.0.6:9000","origin"]',
        b'["task","task-1","http://","origin"]',
        b'["task","task-1","http://[::1","origin"]',
        b'["task","task-1","http://h:99999","origin"]',
        b"[" * 100_000,
    ],
    ids=lambda entry: repr(entry[:60]),
)
async def test_an_entry_that_somebody_else_made_is_left_out_and_said_once(redis_server, caplog, foreign):
    discovery = RedisDiscovery(redis_server, clock=SystemClock(), stack="foreign")
    await discovery.open()
    places = [Place("task", f"task-{number}", "http://10.0.0.5:9000", "host/origin") for number in (1, 2)]
    async with driver.Redis.from_url(redis_server, protocol=2) as client:
        for place, name in zip(places, ("here", "left"), strict=True):
            await (discovery.register if name == "here" else discovery.withdraw)(place)
            await client.zadd(f"micro:discovery:{{foreign}}:{name}", {foreign: 9e15})
        assert [await discovery.places() for _ in range(3)] == [Places([places[0]], [places[1]])] * 3
        [record] = [each for each in caplog.records if each.name == "micro.discovery.redis"]
        assert len(record.getMessage()) < 400
        await client.delete("micro:discovery:{foreign}:here", "micro:discovery:{foreign}:left")
    await discovery.close()


async def test_a_server_that_is_out_of_reach_and_a_list_that_is_closed_are_said_to_be():
    [port] = free_ports(1)
    discovery = RedisDiscovery(f"redis://127.0.0.1:{port}/0", clock=SystemClock())
    place = Place("task", "task-1", "http://10.0.0.5:9000", "host/origin")
    with pytest.raises(DiscoveryUnavailable, match="closed"):
        await discovery.places()
    await discovery.open()
    for call in (discovery.register(place), discovery.withdraw(place), discovery.places()):
        with pytest.raises(DiscoveryUnavailable, match="out of reach"):
            await call
    await discovery.close()
