"""The bus for production, on Kafka 2.4 or newer."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from micro.bus.kafka_log import LogReader
from micro.bus.kafka_member import Member
from micro.bus.kafka_producer import Producer
from micro.bus.kafka_records import ours
from micro.bus.kafka_topics import Topics
from micro.bus.kafka_url import parse_url
from micro.bus.ports import BusFeatures
from micro.errors import BusUnavailable, EventTooLarge, PublishFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from micro.backend import Checkup
    from micro.bus.message import Message, Partition, Record
    from micro.bus.ports import Bounds
    from micro.clock import Clock

MAX_BYTES = 1_048_576 - 16_384
"""Kafka's default for a record, less room for the key and for the headers that a dead letter gets."""


driver_log = logging.getLogger("aiokafka")
"""It calls errors what it mends by itself a moment later; what it can't mend comes to us as an exception."""


class KafkaBus:
    """`Bus` and `Log` on Kafka: acknowledged by every copy in step, idempotent, committed explicitly.

    For `url`, see `micro.bus.kafka_url.parse_url`. `instance` is this process's name in its groups, which keeps its
    partitions over a quick restart; without one, every member is a new one.
    """

    features: ClassVar[BusFeatures] = BusFeatures(
        ordered_by_key=True,
        groups=True,
        replays=True,
        survives_restart=True,
        survives_power_loss=True,
        shared_by_processes=True,
        max_bytes=MAX_BYTES,
    )

    def __init__(self, url: str, *, clock: Clock, instance: str | None = None) -> None:
        self.url = url
        self._address = parse_url(url)
        self._clock = clock
        self._instance = instance
        self._topics = Topics(self._address)
        self._producer = Producer(self._address)
        self._reader = LogReader(self._address, clock)
        self._members: set[Member] = set()
        self._opened = False

    async def open(self) -> None:
        """Log in. Raises `BusUnavailable`, and `ConfigurationError` where the brokers refuse us.

        From then on `features` are those of these brokers: of what a single one has acknowledged, a power cut may take
        the last moments, since no broker waits for its disk.
        """
        self._quiet()
        try:
            await self._topics.open()
            await self._producer.open()
            await self._reader.open()
        except BaseException:
            await self.close()
            raise
        self.features = replace(  # type: ignore[misc] # of these brokers, in the place of the class's
            self.features, survives_power_loss=self._topics.copies > 1
        )
        self._opened = True

    async def check(self, topics: Mapping[str, Collection[str]]) -> Checkup:
        """See `Topics.check`."""
        self._quiet()
        return await Topics(self._address).check(topics)

    async def close(self) -> None:
        """Leave every group, send what is under way, log out. Idempotent."""
        self._opened = False
        await asyncio.gather(*(member.close() for member in tuple(self._members)))
        await self._producer.close()
        await self._reader.close()
        await self._topics.close()

    async def publish(self, messages: Sequence[Message]) -> list[Record]:
        """See `Bus.publish`."""
        self._check_open()
        for message in messages:
            if len(message.value) > MAX_BYTES:
                raise EventTooLarge(f"{message.topic}: {len(message.value):,} bytes of at most {MAX_BYTES:,}")
        if not messages:
            return []
        try:
            await self._topics.ensure({message.topic for message in messages})
        except BusUnavailable as error:
            return await self._publish_some(messages, error)
        try:
            return await self._producer.send(messages)
        except PublishFailed:
            self._topics.forget()  # one may have been deleted
            raise

    async def subscribe(self, group: str, topics: Collection[str]) -> Member:
        """See `Bus.subscribe`."""
        self._check_open()
        await self._topics.ensure(topics)
        member = Member(self._address, group, topics=topics, clock=self._clock, instance=self._instance)
        await member.join(left=self._members.discard)
        self._members.add(member)
        return member

    async def topics(self) -> dict[str, int]:
        """See `Log.topics`."""
        return await self._reader.topics()

    async def bounds(self, partition: Partition, *, since: float | None = None) -> Bounds:
        """See `Log.bounds`."""
        return await self._reader.bounds(partition, since)

    async def read(self, partition: Partition, offset: int, *, limit: int, wait: float = 0.0) -> list[Record]:
        """See `Log.read`."""
        return await self._reader.read(partition, offset, limit=limit, wait=wait)

    async def positions(self) -> dict[str, dict[Partition, int]]:
        """See `Log.positions`."""
        self._check_open()
        found = await self._topics.positions()
        return {group: {ours(place): at for place, at in places.items()} for group, places in found.items()}

    async def _publish_some(self, messages: Sequence[Message], error: BusUnavailable) -> list[Record]:
        """Publish what goes to topics that are there, per key up to the first that doesn't. Raises for the rest."""
        known, stuck = [], set()
        for number, message in enumerate(messages):
            if message.key not in stuck and self._topics.has(message.topic):
                known.append(number)
            else:
                stuck.add(message.key)
        acknowledged: Collection[int] = range(len(known))
        try:
            if known:
                await self._producer.send([messages[number] for number in known])
        except PublishFailed as failed:
            acknowledged = failed.acknowledged
        if not acknowledged:
            raise error
        raise PublishFailed(
            str(error), acknowledged=frozenset(known[each] for each in acknowledged)
        ) from error

    def _quiet(self) -> None:
        if driver_log.level == logging.NOTSET:
            driver_log.setLevel(logging.CRITICAL)

    def _check_open(self) -> None:
        if not self._opened:
            raise BusUnavailable("the bus is closed")
