"""A broker that dies, hangs or refuses: nothing acknowledged is lost, nothing of a key is reordered, and it ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from micro.bus import kafka_member, kafka_producer
from micro.bus.kafka import KafkaBus
from micro.bus.message import Message
from micro.clock import SystemClock
from micro.errors import BusError, BusUnavailable, ConfigurationError, PublishFailed
from micro.infra.kafka import Kafka
from micro.infra.server import free_ports

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("broker")


@pytest.fixture
async def broker(folder):
    """A broker of this test's own, to do with as it likes."""
    server = Kafka(folder, clock=SystemClock())
    await server.start(lambda text: None)
    yield server
    pid = server.pid
    if pid is not None:
        os.kill(pid, signal.SIGCONT)
    await server.stop()


@pytest.fixture
async def bus(broker):
    bus = KafkaBus(broker.url(broker.record), clock=SystemClock())
    await bus.open()
    yield bus
    await bus.close()


def messages(topic, numbers):
    return [Message(topic, f"key{n % 3}", b"%05d" % n) for n in numbers]


async def publish_until_done(bus, rest):
    """As the relay does: what was not acknowledged is sent again, from the first of its key on."""
    refused = 0
    async with asyncio.timeout(90):
        while rest:
            try:
                await bus.publish(rest)
                rest = []
            except PublishFailed as error:
                rest = [message for n, message in enumerate(rest) if n not in error.acknowledged]
                refused += 1
            except BusUnavailable:
                refused += 1
                await SystemClock().sleep(0.1)
    return refused


async def first_occurrences(bus, topic, count):
    """Per key, the values in the order in which they first came."""
    member = await bus.subscribe(f"{topic}-check", [topic])
    seen: dict[str, list[bytes]] = {}
    async with asyncio.timeout(60):
        while sum(map(len, seen.values())) < count:
            for record in await member.fetch(limit=500, wait=1.0):
                values = seen.setdefault(record.message.key, [])
                if record.message.value not in values:
                    values.append(record.message.value)
    await member.close()
    return seen


async def test_killed_in_the_middle_it_has_what_it_acknowledged_and_keeps_the_order(bus, broker):
    topic = "killed.events"
    await bus.publish(messages(topic, range(30)))
    sending = asyncio.create_task(publish_until_done(bus, messages(topic, range(30, 600))))
    os.kill(broker.pid, signal.SIGKILL)
    await broker.start(lambda text: None)
    await sending
    seen = await first_occurrences(bus, topic, 600)
    for key, values in seen.items():
        assert values == sorted(values), f"{key} keeps its order"
    assert sum(map(len, seen.values())) == 600


async def test_one_that_hangs_is_given_up_and_the_next_producer_goes_on(bus, broker, monkeypatch, freeze):
    monkeypatch.setattr(kafka_producer, "ACKNOWLEDGED_IN", 1.0)
    topic = "hung.events"
    await bus.publish(messages(topic, range(3)))
    await freeze(broker.pid)
    with pytest.raises(PublishFailed) as caught:
        await bus.publish(messages(topic, range(3, 9)))
    assert caught.value.acknowledged == frozenset()
    os.kill(broker.pid, signal.SIGCONT)
    monkeypatch.setattr(kafka_producer, "ACKNOWLEDGED_IN", 30.0)
    await publish_until_done(bus, messages(topic, range(3, 12)))
    seen = await first_occurrences(bus, topic, 12)
    assert all(values == sorted(values) for values in seen.values())


async def test_a_member_hears_of_a_silent_broker_and_heals_itself(bus, broker, monkeypatch, freeze):
    monkeypatch.setattr(kafka_member, "SILENT", 1.0)
    monkeypatch.setattr(kafka_member, "_STOP", 0.5)
    topic = "silent.events"
    await bus.publish(messages(topic, range(3)))
    member = await bus.subscribe("silent", [topic])
    got = []
    async with asyncio.timeout(30):
        while len(got) < 3:
            got += await member.fetch(limit=10, wait=0.5)
    await freeze(broker.pid)
    with pytest.raises(BusError):
        async with asyncio.timeout(60):
            while True:
                await member.fetch(limit=10, wait=0.2)
    os.kill(broker.pid, signal.SIGCONT)
    await publish_until_done(bus, messages(topic, range(3, 6)))
    values = set()
    async with asyncio.timeout(60):
        while len(values) < 6:
            try:
                values |= {record.message.value for record in await member.fetch(limit=10, wait=0.5)}
            except BusError:
                await SystemClock().sleep(0.1)
    await member.close()


async def test_no_broker_and_a_wrong_password_are_one_sentence_each(broker):
    [port] = free_ports(1)
    with pytest.raises(BusUnavailable, match="no broker answers"):
        await KafkaBus(f"kafka://127.0.0.1:{port}", clock=SystemClock()).open()
    wrong = broker.url(broker.record).replace(broker.record.password, "guess")
    with pytest.raises(
        ConfigurationError, match="check user, password and security=sasl_plaintext"
    ) as caught:
        await KafkaBus(wrong, clock=SystemClock()).open()
    assert "guess" not in str(caught.value)
