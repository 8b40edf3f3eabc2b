"""One member of a group."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.consumer import fetcher
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    CorruptRecordException,
    IllegalStateError,
    UnsupportedCodecError,
)

from micro.bus.kafka_client import ANSWER_IN, answering, discard, has_died, is_stuck, start
from micro.bus.kafka_errors import DRIVER_ERRORS, translate
from micro.bus.kafka_records import ours, theirs, to_records
from micro.bus.kafka_unpacking import Fetched
from micro.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from micro.bus.kafka_url import Address
    from micro.bus.message import Partition, Record
    from micro.clock import Clock

MAX_RECORD = 16 * 1_048_576
"""Bytes of a partition that one fetch may bring: a record of somebody else's may be larger than ours."""
SILENT = 15.0
"""Seconds without an answer for any partition after which the member is made anew."""
JOIN_IN = 60.0
"""Seconds to become a member: the group may have to wait for one that is gone until its session ends."""
_SESSION_MS = 10_000
_HEARTBEAT_MS = 1_000
_LOOK_MS = 30_000
"""Time between two looks at the topics: one may have been made anew, or have more partitions."""
_POLL_MS = 24 * 3600 * 1000
"""Where nothing can be taken in for a while, this member stays: leaving would stop the others, and help nobody."""
_UNREADABLE = (CorruptRecordException, UnsupportedCodecError, UnicodeDecodeError)
"""With these, the driver loses what it had just taken out of other partitions, and would go on behind it."""

logger = logging.getLogger("micro.bus")

fetcher.MemoryRecords = Fetched  # the driver's consumers have no option for it


class Held(ConsumerRebalanceListener):  # type: ignore[misc] # the driver has no types
    """From which record on this member has had each partition since the group shared them out.

    What came before says nothing any more: somebody else may have had the partition since, and come further.
    """

    def __init__(self) -> None:
        self._since: dict[Partition, int] = {}

    def fetched(self, record: Record) -> None:
        """Note the first record of a fetch from its partition."""
        self._since.setdefault(record.partition, record.offset)

    def covers(self, partition: Partition, position: int) -> bool:
        """Whether a position is this member's to store."""
        return position >= self._since.get(partition, position + 1)

    def on_partitions_revoked(self, revoked: object) -> None:
        """The driver calls it before each sharing out, and hands out no record from then until after it."""
        self._since.clear()

    def on_partitions_assigned(self, assigned: object) -> None:
        """The driver asks for it."""


class Member:
    """A `Subscription` by one of the driver's consumers, which is replaced when it doesn't hear from the brokers.

    Partitions are left alone by not asking for them: to leave the group for that would stop every other member.
    """

    def __init__(
        self, address: Address, group: str, *, topics: Collection[str], clock: Clock, instance: str | None
    ) -> None:
        """With `instance`, membership is static (KIP-345): who comes back within the session keeps its partitions."""
        self._address = address
        self._group = group
        self._topics = sorted(topics)
        self._clock = clock
        self._instance = instance
        self._consumer: Any = None
        self._looking_back: asyncio.Task[None] | None = None
        self._held = Held()
        self._heard_at = 0.0
        self._stamp = 0
        self._closed = False
        self._left: Callable[[Member], None] | None = None

    async def join(self, *, left: Callable[[Member], None]) -> None:
        """Enter the group; `left` is called when it is closed. Raises `BusUnavailable` and `ConfigurationError`."""
        self._left = left
        self._consumer = await self._start()

    def assigned(self) -> frozenset[Partition]:
        """See `Subscription.assigned`."""
        return frozenset() if self._consumer is None else frozenset(map(ours, self._consumer.assignment()))

    async def fetch(self, *, limit: int, wait: float, exclude: Collection[Partition] = ()) -> list[Record]:
        """See `Subscription.fetch`. Raises `BusUnavailable` where the brokers have been silent for long."""
        if self._closed:
            raise BusUnavailable(f"{self._group}: this member has left the group")
        await self._revive()
        if self._looking_back is None:
            self._looking_back = asyncio.create_task(_look_back(self._consumer, self._group))
        wanted = [theirs(partition) for partition in self.assigned().difference(exclude)]
        if exclude and not wanted:
            self._heard_at = self._clock.monotonic()  # nothing was asked
            await self._clock.sleep(wait)
            return []
        await self._check_silence(wanted)
        found: Mapping[Any, Any] = {}
        async with self._asking(wait + SILENT) as consumer:
            found = await consumer.getmany(*wanted, timeout_ms=int(wait * 1000), max_records=limit)
        taken = [to_records(ours(partition), each) for partition, each in found.items()]
        for records in taken:
            self._held.fetched(records[0])
        return [record for records in taken for record in records]

    async def commit(self, positions: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """See `Subscription.commit`. While the group shares the partitions out, nothing is stored."""
        mine = {p: position for p, position in positions.items() if self._held.covers(p, position)}
        stored: Mapping[Partition, int] = {}
        if mine:
            async with self._asking(ANSWER_IN) as consumer:
                with suppress(CommitFailedError, IllegalStateError):  # the group is about to be shared out
                    await consumer.commit({theirs(p): position for p, position in mine.items()})
                    stored = mine
        return stored

    async def close(self) -> None:
        """See `Subscription.close`."""
        if self._closed:
            return
        self._closed = True
        if self._left is not None:
            self._left(self)
        if self._consumer is not None:
            # Or the driver keeps a static member's place: the partitions would wait for nobody until the session ends.
            self._consumer._coordinator._group_instance_id = None  # noqa: SLF001 # it has no public way
        await self._drop()

    @asynccontextmanager
    async def _asking(self, seconds: float) -> AsyncIterator[Any]:
        """The consumer, for a block that takes so long at most: one that doesn't answer will be made anew."""
        try:
            async with answering(seconds):
                yield self._consumer
        except ConsumerStoppedError:
            return  # by `close`
        except DRIVER_ERRORS as error:
            if is_stuck(error) or isinstance(error, _UNREADABLE):
                await self._drop()
            raise translate(error, self._address.brokers) from error

    async def _check_silence(self, wanted: Collection[Any]) -> None:
        """Drop the consumer where nothing was heard of any partition that it was asked for, for long."""
        now = self._clock.monotonic()
        newest = max((self._consumer.last_poll_timestamp(place) or 0 for place in wanted), default=0)
        if newest != self._stamp or not wanted:
            self._stamp, self._heard_at = newest, now
        elif now - self._heard_at > SILENT:
            await self._drop()
            raise BusUnavailable(f"kafka {self._address.brokers}: no answer for {SILENT:g} s; trying again")

    async def _revive(self) -> None:
        if self._consumer is not None and has_died(self._consumer):
            await self._drop()
        if self._consumer is None:
            self._consumer = await self._start()
        if self._closed:  # meanwhile
            await self._drop()
            raise BusUnavailable(f"{self._group}: this member has left the group")

    async def _drop(self) -> None:
        consumer, self._consumer, self._held = self._consumer, None, Held()
        looking, self._looking_back = self._looking_back, None
        if looking is not None:
            looking.cancel()
        if consumer is not None:
            await discard(consumer)
        if looking is not None:
            await asyncio.gather(looking, return_exceptions=True)

    async def _start(self) -> Any:
        self._stamp, self._heard_at = 0, self._clock.monotonic()
        consumer = AIOKafkaConsumer(
            **self._address.options(),
            group_id=self._group,
            group_instance_id=None if self._instance is None else f"{self._group}-{self._instance}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=MAX_RECORD,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            metadata_max_age_ms=_LOOK_MS,
            max_poll_interval_ms=_POLL_MS,
        )
        consumer.subscribe(self._topics, listener=self._held)
        return await start(consumer, self._address.brokers, within=JOIN_IN)


async def _look_back(consumer: Any, group: str) -> None:
    """Say what has left the log before the group had come to it: it was away for longer than records are kept."""
    with suppress(*DRIVER_ERRORS):  # then nobody knows
        async with answering(ANSWER_IN):
            places = sorted(consumer.assignment())
            starts = await consumer.beginning_offsets(places)
            positions = await asyncio.gather(*map(consumer.committed, places))
        for place, position in zip(places, positions, strict=True):
            if position is not None and position < starts[place]:
                logger.error(
                    "%s: %d records of %s/%d have left the log before they were handled",
                    group,
                    starts[place] - position,
                    *place,
                )
