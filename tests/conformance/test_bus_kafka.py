"""Kafka keeps the contracts of the bus and of the log."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from micro.bus import kafka_client, kafka_member, kafka_producer, kafka_url
from micro.bus.kafka import KafkaBus
from micro.bus.kafka_url import parse_url
from micro.clock import SystemClock
from micro.testing import BusContract, LogContract

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """A broker on a busy machine has more time than one on which a service waits."""
    monkeypatch.setattr(kafka_url, "REQUEST_TIMEOUT_MS", 60_000)
    monkeypatch.setattr(kafka_producer, "ACKNOWLEDGED_IN", 60.0)
    monkeypatch.setattr(kafka_client, "ANSWER_IN", 60.0)
    monkeypatch.setattr(kafka_member, "ANSWER_IN", 60.0)


class TestKafka(BusContract, LogContract):
    silence = 1.0

    @pytest.fixture
    async def make(self, kafka_server):
        async def make():
            bus = KafkaBus(f"{kafka_server}&partitions=12", clock=SystemClock())
            await bus.open()
            return bus

        return make


@pytest.fixture
async def members(kafka_server):
    """`members(group)`: how many the brokers have in it, those included that have not been heard of lately."""
    admin = AIOKafkaAdminClient(**parse_url(kafka_server).options())
    await admin.start()

    async def members(group):
        [answer] = await admin.describe_consumer_groups([group])
        [(_, _, _, _, _, found, *_)] = answer.groups
        return len(found)

    yield members
    await admin.close()


async def test_a_named_member_that_leaves_is_in_the_group_no_more_and_one_that_is_lost_still_is(
    kafka_server, members, monkeypatch
):
    """Its partitions go to the others at once, or wait for it until the session ends."""
    monkeypatch.setattr(kafka_member, "_SESSION_MS", 120_000)  # no machine is that slow
    bus = KafkaBus(kafka_server, clock=SystemClock(), instance="one")
    await bus.open()
    try:
        leaves = await bus.subscribe("leaves", ["named.events"])
        lost = await bus.subscribe("lost", ["named.events"])
        assert await members("leaves") == await members("lost") == 1
        await leaves.close()
        await lost._drop()  # as `kill -9` does, without a word to the brokers
        assert await members("leaves") == 0
        assert await members("lost") == 1
    finally:
        await bus.close()
