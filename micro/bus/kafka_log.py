"""The log by position, without a group."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import NoError, NotLeaderForPartitionError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest

from micro.bus.kafka_client import Client, start
from micro.bus.kafka_records import theirs, to_records
from micro.bus.kafka_unpacking import Fetched
from micro.bus.ports import Bounds

if TYPE_CHECKING:
    from micro.bus.kafka_url import Address
    from micro.bus.message import Partition, Record
    from micro.clock import Clock

_POLL = 0.1
"""Seconds between two looks of a read that waits."""
_BYTES = 1_048_576
_READ_UNCOMMITTED = 0


class LogReader:
    """Reads any partition at any position. A read is one request of its own, so that reads don't disturb each other."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._client = Client(address.brokers, self._start)

    async def open(self) -> None:
        """Log in. Raises `BusUnavailable` and `ConfigurationError`."""
        await self._client.open()

    async def close(self) -> None:
        """Log out. Idempotent."""
        await self._client.close()

    async def topics(self) -> dict[str, int]:
        """See `Log.topics`. Without those of Kafka's own."""
        async with self._client.use() as consumer:
            cluster = await _inner(consumer).fetch_all_metadata()
        return {
            topic: len(cluster.partitions_for_topic(topic) or ())
            for topic in cluster.topics(exclude_internal_topics=True)
        }

    async def bounds(self, partition: Partition, since: float | None) -> Bounds:
        """See `Log.bounds`."""
        place = theirs(partition)
        async with self._client.use() as consumer:
            await _inner(consumer).add_topic(partition.topic)
            start = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            if since is not None:
                found = (await consumer.offsets_for_times({place: int(since * 1000)}))[place]
                start = end if found is None else found.offset
        return Bounds(start, end)

    async def read(self, partition: Partition, offset: int, *, limit: int, wait: float) -> list[Record]:
        """See `Log.read`."""
        deadline = self._clock.monotonic() + wait
        while True:
            async with self._client.use() as consumer:
                records = await self._fetch(_inner(consumer), partition, offset, limit)
            left = deadline - self._clock.monotonic()
            if records or left <= 0:
                return records
            await self._clock.sleep(min(_POLL, left))

    async def _start(self) -> Any:
        consumer = AIOKafkaConsumer(**self._address.options(), group_id=None, enable_auto_commit=False)
        return await start(consumer, self._address.brokers)

    async def _fetch(self, client: Any, partition: Partition, offset: int, limit: int) -> list[Record]:
        """What there is now; nothing beyond the end, and while nobody leads the partition."""
        await client.add_topic(partition.topic)
        kind, data = await _ask(client, partition, offset)
        if kind is OffsetOutOfRangeError:
            start = (await self.bounds(partition, None)).start
            return await self._fetch(client, partition, start, limit) if offset < start else []
        if kind is NotLeaderForPartitionError:
            await client.force_metadata_update()
            return []
        if kind is not NoError:
            raise kind(partition.topic)
        place, fetched = theirs(partition), Fetched(data)
        found = PartitionRecords(place, fetched, None, offset, None, None, False, _READ_UNCOMMITTED)
        return to_records(partition, islice(found, limit))


async def _ask(client: Any, partition: Partition, offset: int) -> tuple[type[Exception], bytes]:
    """What the partition's leader says to one request: one of the driver's errors, `NoError` among them, and batches."""
    leader = client.cluster.leader_for_partition(theirs(partition))
    if leader is None or leader < 0:
        return NotLeaderForPartitionError, b""
    topics = [(partition.topic, [(partition.number, offset, _BYTES)])]
    answer = await client.send(leader, FetchRequest(0, 1, _BYTES, _READ_UNCOMMITTED, topics))
    [(_, [(_, code, *_, data)])] = answer.topics
    return for_code(code), data or b""


def _inner(consumer: Any) -> Any:
    """What asks the brokers anything; the driver's consumers read in order only."""
    return consumer._client  # noqa: SLF001 # as said above
