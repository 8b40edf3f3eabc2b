"""One member of a group."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError

from micro.bus.kafka_errors import DRIVER_ERRORS, translate
from micro.bus.kafka_records import ours, theirs, to_records
from micro.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from micro.bus.kafka_url import Address
    from micro.bus.message import Partition, Record
    from micro.clock import Clock

MAX_RECORD = 16 * 1_048_576
"""Bytes of a partition that one fetch may bring: a record of somebody else's may be larger than ours."""
SILENT = 15.0
"""Seconds without an answer for any partition after which the member is made anew."""
_SESSION_MS = 10_000
_POLL_MS = 300_000
_STOP = 5.0
_COMMITS = 3


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
        return frozenset() if self._closed else frozenset(map(ours, self._consumer.assignment()))

    async def fetch(self, *, limit: int, wait: float, exclude: Collection[Partition] = ()) -> list[Record]:
        """See `Subscription.fetch`. Raises `BusUnavailable` where the brokers have been silent for long."""
        if self._closed:
            raise BusUnavailable(f"{self._group}: this member has left the group")
        await self._heal()
        wanted = [theirs(partition) for partition in self.assigned() - frozenset(exclude)]
        if exclude and not wanted:
            await self._clock.sleep(wait)
            return []
        try:
            found = await self._consumer.getmany(*wanted, timeout_ms=int(wait * 1000), max_records=limit)
        except ConsumerStoppedError:
            return []
        except DRIVER_ERRORS as error:
            raise translate(error, self._address.brokers) from error
        return [record for partition, each in found.items() for record in to_records(ours(partition), each)]

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """See `Subscription.commit`. While the group shares the partitions out anew, it waits for that."""
        for _ in range(_COMMITS):
            mine = {theirs(p): offset for p, offset in positions.items() if p in self.assigned()}
            if not mine:
                return
            try:
                await self._consumer.commit(mine)
            except (
                CommitFailedError,
                IllegalStateError,
            ):  # the group is being shared out: see what is left to us
                await self._clock.sleep(0.1)
            except DRIVER_ERRORS as error:
                raise translate(error, self._address.brokers) from error
            else:
                return
        raise BusUnavailable(f"{self._group}: positions can't be stored while the group is shared out")

    async def close(self) -> None:
        """See `Subscription.close`."""
        if self._closed:
            return
        self._closed = True
        if self._left is not None:
            self._left(self)
        await _stop(self._consumer)

    async def _heal(self) -> None:
        """Make the consumer anew where nothing was heard of any partition for long."""
        now = self._clock.monotonic()
        stamps = [
            self._consumer.last_poll_timestamp(partition) or 0 for partition in self._consumer.assignment()
        ]
        newest = max(stamps, default=0)
        if newest != self._stamp or not stamps:
            self._stamp, self._heard_at = newest, now
        elif now - self._heard_at > SILENT:
            await _stop(self._consumer)
            self._consumer = await self._start()
            raise BusUnavailable(f"kafka {self._address.brokers}: no answer for {SILENT:g} s; trying again")

    async def _start(self) -> Any:
        self._stamp, self._heard_at = 0, self._clock.monotonic()
        consumer = AIOKafkaConsumer(
            *self._topics,
            **self._address.options(),
            group_id=self._group,
            group_instance_id=None if self._instance is None else f"{self._group}-{self._instance}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=MAX_RECORD,
            session_timeout_ms=_SESSION_MS,
            max_poll_interval_ms=_POLL_MS,
        )
        try:
            await consumer.start()
        except DRIVER_ERRORS as error:
            await _stop(consumer)
            raise translate(error, self._address.brokers) from error
        return consumer


async def _stop(consumer: Any) -> None:
    """Leave, without waiting for ever for brokers that don't answer."""
    with contextlib.suppress(KafkaError, TimeoutError, OSError):
        async with asyncio.timeout(_STOP):
            await consumer.stop()
