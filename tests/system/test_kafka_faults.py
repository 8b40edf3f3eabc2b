"""A broker that dies, hangs or refuses: nothing acknowledged is lost, nothing of a key is reordered, and it ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from operator import attrgetter

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from foreign import NAME, in_latin

from micro.bus import kafka_client, kafka_member, kafka_producer
from micro.bus.kafka import KafkaBus
from micro.bus.kafka_records import theirs
from micro.bus.kafka_url import parse_url
from micro.bus.message import Message, Partition
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


async def test_a_member_outlives_a_broker_that_is_away_for_longer_than_it_waits(bus, broker, monkeypatch):
    """The driver's consumer is dropped while its requests wait to be tried again."""
    monkeypatch.setattr(kafka_member, "SILENT", 1.0)
    topic = "away.events"
    member = await bus.subscribe(topic, [topic])
    await bus.publish(messages(topic, range(3)))
    async with asyncio.timeout(60):
        while not await member.fetch(limit=10, wait=0.5):
            pass
    os.kill(broker.pid, signal.SIGKILL)
    with pytest.raises(BusUnavailable):
        async with asyncio.timeout(60):
            while True:
                await member.fetch(limit=10, wait=0.1)
    await broker.start(lambda text: None)
    await publish_until_done(bus, messages(topic, range(3, 6)))
    values: set[bytes] = set()
    async with asyncio.timeout(60):
        while not values >= {b"%05d" % n for n in range(3, 6)}:
            try:
                values |= {record.message.value for record in await member.fetch(limit=10, wait=0.5)}
            except BusUnavailable:
                await SystemClock().sleep(0.1)
    await member.close()


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
    monkeypatch.setattr(kafka_client, "STOP_IN", 0.5)
    topic = "silent.events"
    await bus.publish(messages(topic, range(3)))
    member = await bus.subscribe("silent", [topic])
    got = []
    async with asyncio.timeout(60):
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


@pytest.mark.parametrize(
    "task", ["_client._sync_task", "_coordinator._coordination_task", "_fetcher._fetch_task"]
)
async def test_a_member_whose_driver_has_lost_a_task_is_made_anew(bus, task):
    """As a write on a closed connection does it: the driver's task ends, and what waits for it waits for ever."""
    topic = f"lost.{task.rpartition('.')[2].lstrip('_').replace('_', '-')}"
    await bus.publish(messages(topic, range(3)))
    member = await bus.subscribe(topic, [topic])
    got = []
    async with asyncio.timeout(60):
        while len(got) < 3:
            got += await member.fetch(limit=10, wait=0.5)
    positions = {record.partition: record.offset + 1 for record in got}
    lost = attrgetter(task)(member._consumer)
    lost.cancel()
    await asyncio.wait([lost])
    await bus.publish(messages(topic, range(3, 6)))
    async with asyncio.timeout(60):
        while len(got) < 6:
            try:
                got += [record for record in await member.fetch(limit=10, wait=0.5) if record not in got]
                await member.commit(positions)
            except BusError:
                await SystemClock().sleep(0.1)
    assert (await bus.positions())[topic] == positions
    await member.close()


@pytest.mark.parametrize(
    "error",
    [
        CorruptRecordException("CRC"),
        UnsupportedCodecError("Unknown compression codec 0x07"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=repr,
)
async def test_what_the_driver_took_out_before_a_record_that_cannot_be_read_comes_again(bus, error):
    """It has moved on behind those of other partitions, and hands them to nobody."""
    topic = f"unreadable.{type(error).__name__}"
    await bus.publish(messages(topic, range(3)))
    member = await bus.subscribe(topic, [topic])
    consumer, lost, got = member._consumer, [], []
    getmany = consumer.getmany

    async def getmany_and_lose(*arguments, **options):
        lost.extend(await getmany(*arguments, **options))
        if lost:
            raise error
        return {}

    consumer.getmany = getmany_and_lose
    with pytest.raises(BusUnavailable):
        async with asyncio.timeout(60):
            while not lost:
                assert not await member.fetch(limit=10, wait=0.5)
    assert lost
    async with asyncio.timeout(60):
        while len(got) < 3:
            got += await member.fetch(limit=10, wait=0.5)
    assert sorted(record.message.value for record in got) == [b"00000", b"00001", b"00002"]
    await member.close()


@pytest.mark.parametrize("packed", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_a_header_whose_name_is_no_utf8_holds_up_nobody(bus, broker, packed):
    """Brokers take such a record from whoever may write. It is an event like any other, in its place."""
    topic = f"foreign.{packed}"
    await bus.publish(messages(topic, range(9)))
    place = (await bus.publish([Message(topic, "key0", b"00009")]))[0].partition
    producer = AIOKafkaProducer(**parse_url(broker.url(broker.record)).options())
    await producer.start()
    builder = producer.create_batch()
    for number in range(10, 13):
        headers = [(NAME, b"v")] if number == 11 else []
        builder.append(timestamp=None, key=b"key0", value=b"%05d" % number, headers=headers)
    builder._buffer = in_latin(bytes(builder._build()), packed)
    await (await producer.send_batch(builder, topic, partition=place.number))
    await producer.stop()
    await bus.publish(messages(topic, range(13, 20)))
    seen = await first_occurrences(bus, topic, 20)
    for key, values in seen.items():
        assert values == sorted(values), f"{key} keeps its order"
    log = await bus.read(place, 0, limit=100)
    [foreign] = [record.message for record in log if record.message.headers]
    assert (foreign.value, foreign.headers) == (b"00011", (("gr\ufffdsse", b"v"),))


async def test_positions_that_the_brokers_do_not_take_are_told_in_time(bus, broker, monkeypatch, freeze):
    monkeypatch.setattr(kafka_member, "ANSWER_IN", 0.5)
    monkeypatch.setattr(kafka_client, "STOP_IN", 0.5)
    topic = "positions.events"
    await bus.publish(messages(topic, range(3)))
    member = await bus.subscribe(topic, [topic])
    got = []
    async with asyncio.timeout(60):
        while len(got) < 3:
            got += await member.fetch(limit=10, wait=0.5)
    positions = {record.partition: record.offset + 1 for record in got}
    await freeze(broker.pid)
    with pytest.raises(BusUnavailable):
        async with asyncio.timeout(60):
            await member.commit(positions)
    os.kill(broker.pid, signal.SIGCONT)
    async with asyncio.timeout(60):
        while (await bus.positions()).get(topic) != positions:
            try:
                await member.fetch(limit=10, wait=0.1)
                await member.commit(positions)
            except BusError:
                await SystemClock().sleep(0.1)
    await member.close()


async def test_a_topic_that_is_deleted_and_made_again_is_consumed_again(bus, broker, monkeypatch):
    monkeypatch.setattr(kafka_member, "_LOOK_MS", 500)
    topic = "anew.events"
    member = await bus.subscribe(topic, [topic])
    admin = AIOKafkaAdminClient(**parse_url(broker.url(broker.record)).options())
    await admin.start()
    for first in (0, 3):
        await publish_until_done(bus, messages(topic, range(first, first + 3)))
        got = []
        async with asyncio.timeout(60):
            while len(got) < 3:
                got += await member.fetch(limit=10, wait=0.5)
        assert sorted(record.message.value for record in got) == [
            b"%05d" % n for n in range(first, first + 3)
        ]
        await admin.delete_topics([topic])
        async with asyncio.timeout(60):
            while member.assigned():
                await member.fetch(limit=10, wait=0.1)
    await admin.close()
    await member.close()


async def test_what_left_the_log_before_it_was_handled_is_told(bus, broker, caplog):
    """A service was away for longer than the log keeps records. One that comes for the first time has missed nothing."""
    topic, admin = "gone.events", AIOKafkaAdminClient(**parse_url(broker.url(broker.record)).options())
    place = (await bus.publish([Message(topic, "a", b"%d" % n) for n in range(10)]))[0].partition
    for left_at, told in ((None, []), (3, [f"late: 5 records of gone.events/{place.number}"]), (8, [])):
        caplog.clear()
        member = await bus.subscribe("late", [topic])
        got = []
        async with asyncio.timeout(60):
            while not got:
                got = await member.fetch(limit=10, wait=0.5)
        assert got[0].offset == (0 if left_at is None else 8)
        async with asyncio.timeout(60):
            await member._looking_back
        assert [each.split(" have")[0] for each in caplog.messages if "have left the log" in each] == told
        await member.commit({place: 3 if left_at is None else 8})
        await member.close()
        if left_at is None:
            await admin.start()
            await admin.delete_records({theirs(place): RecordsToDelete(8)})
            await admin.close()


async def test_leaving_partitions_alone_for_long_is_not_taken_for_silence(bus, monkeypatch):
    monkeypatch.setattr(kafka_member, "SILENT", 0.2)
    topic = "alone.events"
    await bus.publish(messages(topic, range(3)))
    member = await bus.subscribe("alone", [topic])
    consumer = member._consumer
    for _ in range(10):
        await member.fetch(limit=10, wait=0.05, exclude=member.assigned())
    assert member._consumer is consumer
    await member.close()


async def test_behind_a_record_that_the_broker_refuses_nothing_of_its_partition_arrives(bus, broker):
    """Its topic takes less than we do. The driver alone would send what follows, and a key's order be lost."""
    topic = "small.events"
    await bus.publish([Message(topic, "key0", b"first")])
    admin = AIOKafkaAdminClient(**parse_url(broker.url(broker.record)).options())
    await admin.start()
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "200000"})]
    )
    await admin.close()
    large = [
        Message(topic, "key0", b"x" * 300_000),
        *[Message(topic, "key0", b"%05d" % n) for n in range(200)],
    ]
    for _ in range(2):
        with pytest.raises(PublishFailed, match="larger than the topic takes") as caught:
            await bus.publish([Message(topic, "key1", b"other"), *large])
        assert caught.value.acknowledged <= {0}, "another partition's may be there"
    values = []
    for number in range((await bus.topics())[topic]):
        values += [each.message.value for each in await bus.read(Partition(topic, number), 0, limit=500)]
    assert b"00000" not in values


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
