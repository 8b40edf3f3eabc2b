"""What goes to the brokers, in which order, and what is reported of it; the brokers are played."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace

import pytest
from aiokafka import errors

from micro.bus import kafka_member, kafka_producer
from micro.bus.kafka import KafkaBus
from micro.bus.kafka_batches import Batches
from micro.bus.kafka_client import Client
from micro.bus.kafka_producer import Producer
from micro.bus.kafka_url import parse_url
from micro.bus.message import Message, Partition
from micro.clock import SystemClock
from micro.errors import BusUnavailable, PublishFailed


class Builder:
    """A batch that three messages fill."""

    def __init__(self):
        self.messages = []

    def append(self, *, timestamp, key, value, headers):
        if len(self.messages) == 3:
            return None
        self.messages.append((key, value))
        return SimpleNamespace(timestamp=1_000 * len(self.messages))

    def close(self):
        pass


class Driver:
    """Takes batches, but for those with a value of `refused`."""

    def __init__(self, *refused, partitions=1):
        self.refused, self.partitions = refused, partitions
        self.log = {}
        self.most = 0

    async def partitions_for(self, topic):
        return set(range(self.partitions))

    def create_batch(self):
        return Builder()

    async def send_batch(self, builder, topic, *, partition):
        answer = asyncio.get_running_loop().create_future()
        values = [value for _, value in builder.messages]
        if set(values) & set(self.refused):
            answer.set_exception(errors.MessageSizeTooLargeError())
        else:
            log = self.log.setdefault((topic, partition), [])
            answer.set_result(SimpleNamespace(offset=len(log)))
            log += values
        return answer


def messages(count, *, key="key", topic="t"):
    return [Message(topic, key, b"%d" % n) for n in range(count)]


async def test_a_partition_gets_batch_after_batch_and_each_record_its_place():
    driver, batches = Driver(), Batches(messages(8))
    await batches.send(driver)
    assert driver.log == {("t", 0): [b"%d" % n for n in range(8)]}
    assert [record.offset for record in batches.records] == list(range(8))
    assert [record.timestamp for record in batches.records] == [1, 2, 3, 1, 2, 3, 1, 2]
    assert {record.partition for record in batches.records} == {Partition("t", 0)}


async def test_behind_a_batch_that_is_refused_nothing_of_its_partition_is_sent_and_others_go_on():
    driver = Driver(b"4", partitions=64)
    several = [*messages(9, key="stuck"), *messages(4, key="other")]
    batches = Batches(several)
    await batches.send(driver)
    assert [record is not None for record in batches.records] == [True] * 3 + [False] * 6 + [True] * 4
    assert isinstance(batches.failure, errors.MessageSizeTooLargeError)
    assert sorted(map(len, driver.log.values())) == [3, 4]


class Slow(Driver):
    """Has not answered yet."""

    def __init__(self):
        super().__init__()
        self.answers = asyncio.Queue()

    async def send_batch(self, builder, topic, *, partition):
        answer = asyncio.get_running_loop().create_future()
        self.answers.put_nowait(answer)
        return answer


async def test_what_the_brokers_say_after_its_publisher_was_cancelled_is_nobodys_surprise():
    told, driver = [], Slow()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def start():
        return driver

    producer = Producer(parse_url("kafka://b"))
    producer._client = Client("b", start)
    await producer.open()
    sending = asyncio.create_task(producer.send(messages(1)))
    async with asyncio.timeout(60):
        answer = await driver.answers.get()
        sending.cancel()
        await asyncio.wait([sending])
    assert sending.cancelled()
    answer.set_exception(errors.NotLeaderForPartitionError())
    await SystemClock().sleep(0)
    del answer, sending
    gc.collect()
    assert told == []


async def test_the_drivers_clients_are_set_to_lose_nothing(monkeypatch, clock):
    """A duplicate of the driver's own is told by the brokers, and a position is stored by nobody but us."""
    made = {}

    def recorded(name, module):
        class Recorded(Driver):
            def __init__(self, *topics, **options):
                super().__init__()
                made[name] = options

            def subscribe(self, topics, listener):
                made["topics"] = topics

            async def start(self): ...

        monkeypatch.setattr(module, name, Recorded)

    recorded("AIOKafkaProducer", kafka_producer)
    recorded("AIOKafkaConsumer", kafka_member)
    address = parse_url("kafka://b")
    await Producer(address).open()
    await kafka_member.Member(address, "crm", topics=["t"], clock=clock, instance="one").join(
        left=set().discard
    )
    assert made["topics"] == ["t"]
    wanted = {"acks": "all", "enable_idempotence": True}
    assert made["AIOKafkaProducer"].items() >= wanted.items()
    wanted = {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "group_id": "crm",
        "group_instance_id": "crm-one",
        "session_timeout_ms": 10_000,
        "metadata_max_age_ms": 30_000,
    }
    assert made["AIOKafkaConsumer"].items() >= wanted.items()


class Topics:
    """Some are there, the others can't be made."""

    def __init__(self, *there):
        self.there = set(there)
        self.forgotten = False

    async def ensure(self, names):
        if missing := names - self.there:
            raise BusUnavailable(f"the user lacks the right to {min(missing)}")

    def has(self, name):
        return name in self.there

    def forget(self):
        self.forgotten = True


class Sender:
    def __init__(self, failure=None):
        self.sent, self.failure = [], failure

    async def send(self, messages):
        self.sent += messages
        if self.failure:
            raise self.failure
        return messages


@pytest.fixture
def bus(clock):
    bus = KafkaBus("kafka://b", clock=clock)
    bus._opened = True
    bus._topics, bus._producer = Topics("a", "b"), Sender()
    return bus


async def test_a_topic_without_the_right_holds_up_its_own_messages_and_their_keys_only(bus):
    batch = [Message("a", "1", b""), Message("no", "2", b""), Message("b", "2", b""), Message("b", "3", b"")]
    with pytest.raises(PublishFailed, match="lacks the right to no") as caught:
        await bus.publish(batch)
    assert caught.value.acknowledged == {0, 3}, "of a key, nothing behind one that waits"
    assert bus._producer.sent == [batch[0], batch[3]]


async def test_what_fails_besides_is_reported_too(bus):
    bus._producer.failure = PublishFailed("no leader", acknowledged=frozenset({1}))
    batch = [Message("no", "1", b""), Message("a", "2", b""), Message("b", "3", b"")]
    with pytest.raises(PublishFailed) as caught:
        await bus.publish(batch)
    assert caught.value.acknowledged == {2}


async def test_where_nothing_can_be_sent_the_bus_is_unavailable(bus):
    with pytest.raises(BusUnavailable, match="lacks the right"):
        await bus.publish([Message("no", "1", b"")])
    assert bus._producer.sent == []


async def test_after_a_failure_the_topics_are_looked_at_again(bus):
    bus._producer.failure = PublishFailed("unknown topic")
    with pytest.raises(PublishFailed):
        await bus.publish([Message("a", "1", b"")])
    assert bus._topics.forgotten
