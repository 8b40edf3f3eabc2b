"""Active checks in the background."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from micro.spec.upstream import ProbeSpec

PROBE = ProbeSpec(interval=2.0, timeout=0.05)
LIMIT = 60.0


class Health:
    """What the probes find. Remembers who was asked, and when."""

    def __init__(self, clock):
        self.clock = clock
        self.asked = []
        self.ill = {}
        self.hanging = 0

    async def __call__(self, instance):
        self.asked.append((instance.name, self.clock.monotonic()))
        found = self.ill.get(instance.name, True)
        if found is None:
            self.hanging += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.hanging -= 1
        if isinstance(found, Exception):
            raise found
        return found

    def times(self, name):
        return [moment for asked, moment in self.asked if asked == name]


@pytest.fixture
def health(clock):
    return Health(clock)


@pytest.fixture
async def probing(health):
    """Starts the probes of clusters; they end with the test."""
    tasks = []

    def start(cluster):
        tasks.append(asyncio.create_task(cluster.run(health)))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_every_instance_is_asked_at_once_and_the_cluster_is_healthy(
    cluster_of, probing, health, clock, told
):
    cluster = cluster_of(3, probe=PROBE)
    assert cluster.verdict == "starting"
    probing(cluster)
    await clock.advance(0)
    assert [moment for _, moment in health.asked] == [0.0] * 3
    assert cluster.verdict == "healthy"
    assert [(service, state) for service, _, state in told] == [("shop", "healthy")] * 3


async def test_each_wait_is_drawn_from_0_9_to_1_1_of_the_interval(cluster_of, probing, health, clock):
    probing(cluster_of(2, probe=PROBE))
    await clock.advance(100)
    waits = []
    for name in ("10.0.0.1:9000", "10.0.0.2:9000"):
        times = health.times(name)
        waits += [later - sooner for sooner, later in pairwise(times)]
    assert len(waits) > 90
    assert all(1.8 <= wait <= 2.2 for wait in waits)
    assert min(waits) < 1.85
    assert max(waits) > 2.15


async def test_who_was_never_well_is_asked_quickly_at_first(cluster_of, probing, health, clock):
    health.ill["10.0.0.1:9000"] = False
    cluster = cluster_of(1, probe=PROBE)
    probing(cluster)
    await clock.advance(1.0)
    assert len(health.asked) >= 4
    assert cluster.verdict == "starting"
    await clock.advance(30)
    assert cluster.verdict == "unhealthy"
    assert 15 <= len(health.asked) <= 22
    health.ill.clear()
    await clock.advance(2.2)
    assert cluster.verdict == "healthy"


async def test_an_instance_that_fails_gets_no_traffic_until_it_is_well_again(
    cluster_of, probing, health, clock, told, exchange
):
    cluster = cluster_of(2, probe=PROBE)
    probing(cluster)
    await clock.advance(1)
    ill, well = cluster.instances
    health.ill[ill.name] = False
    await clock.advance(7)
    assert cluster.ready == (well,)
    assert {cluster.pick(exchange) for _ in range(10)} == {well}
    assert cluster.states()[0] == {
        "instance": ill.name,
        "state": "unhealthy",
        "active": 0,
        "weight": 0.0,
        "panic": False,
        "reason": "its answer says so",
    }
    assert cluster.verdict == "healthy"
    health.ill.clear()
    await clock.advance(5)
    assert cluster.ready == (ill, well)
    assert told.about(ill.name) == ["healthy", "unhealthy", "healthy"]


async def test_a_probe_that_raises_has_failed_and_says_why(cluster_of, probing, health, clock):
    health.ill |= {"10.0.0.1:9000": OSError("connection refused"), "10.0.0.2:9000": ValueError()}
    cluster = cluster_of(2, probe=PROBE)
    probing(cluster)
    await clock.advance(60)
    assert [instance.reason for instance in cluster.instances] == ["connection refused", "ValueError"]
    assert cluster.verdict == "unhealthy"


async def test_a_probe_that_hangs_is_cancelled_and_has_failed(cluster_of, probing, health, clock):
    health.ill["10.0.0.1:9000"] = None
    cluster = cluster_of(2, probe=PROBE)
    probing(cluster)
    async with asyncio.timeout(LIMIT):
        while not cluster.instances[0].reason:
            await clock.advance(0)
    assert cluster.instances[0].reason == "no answer within 0.05 s"
    assert cluster.verdict == "healthy"
    assert health.hanging == 0


async def test_one_that_hangs_does_not_keep_the_others_waiting(cluster_of, probing, health, clock):
    health.ill["10.0.0.1:9000"] = None
    probing(cluster_of(2, probe=ProbeSpec(timeout=LIMIT)))
    await clock.advance(20)
    assert len(health.times("10.0.0.1:9000")) == 1
    assert len(health.times("10.0.0.2:9000")) >= 10


async def test_who_comes_is_asked_and_gets_traffic_when_well_and_who_leaves_is_asked_no_more(
    cluster_of, probing, health, clock
):
    cluster = cluster_of(2, probe=PROBE)
    probing(cluster)
    await clock.advance(1)
    health.ill["10.0.0.3:9000"] = False
    cluster.update(["http://10.0.0.2:9000", "http://10.0.0.3:9000"])
    new = cluster.instances[1]
    assert new not in cluster.ready
    await clock.advance(0)
    assert new not in cluster.ready
    assert cluster.states()[1]["state"] == "starting"
    health.ill.clear()
    await clock.advance(1)
    assert new in cluster.ready
    asked = len(health.times("10.0.0.1:9000"))
    await clock.advance(10)
    assert len(health.times("10.0.0.1:9000")) == asked
    assert len(health.times("10.0.0.2:9000")) > asked


async def test_the_end_of_a_probe_of_one_that_has_left_is_of_no_interest(cluster_of, told):
    cluster = cluster_of(2, probe=PROBE)
    gone = cluster.instances[0]
    cluster.update(["http://10.0.0.2:9000"])
    cluster.observed(gone, "refused")
    assert told.about(gone.name) == []


async def test_when_it_is_cancelled_no_task_is_left(cluster_of, probing, health, clock):
    health.ill["10.0.0.1:9000"] = None
    cluster = cluster_of(3, probe=PROBE)
    task = probing(cluster)
    await clock.advance(0)
    assert cluster.probed
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not cluster.probed
    assert health.hanging == 0
