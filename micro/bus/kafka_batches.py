"""Messages on their way to the brokers: of a partition one batch at a time, and none after one that failed."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.partitioner import murmur2

from micro.bus.message import Partition, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.bus.message import Message


class _Batch(NamedTuple):
    """What of one partition is with the brokers."""

    place: Partition
    numbers: list[int]
    timestamps: list[int]
    acknowledged: Any
    """The driver's future."""


class Batches:
    """The messages of one call.

    The driver itself would send the next batch of a partition after one that the brokers refused, and they would take it
    from a producer of whom they have nothing yet: a key's events would stand there in another order.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._waiting: dict[Partition, deque[int]] = {}
        self._under_way: list[_Batch] = []
        self.records: list[Record | None] = [None] * len(messages)
        """What was acknowledged."""
        self.failure: BaseException | None = None
        """Why a batch was not."""

    async def send(self, producer: Any) -> None:
        """Send everything, but for what is behind a batch that fails."""
        for number, message in enumerate(self._messages):
            count = len(await producer.partitions_for(message.topic))
            place = Partition(message.topic, _number(message.key, count))
            self._waiting.setdefault(place, deque()).append(number)
        while self._waiting:
            for place in self._waiting:
                self._under_way.append(await self._submit(producer, place))
            await asyncio.wait([batch.acknowledged for batch in self._under_way])
            self.settle()

    def settle(self) -> None:
        """Note what came of the batches that were sent; of one without an answer yet, nothing."""
        for batch in self._under_way:
            if batch.acknowledged.done():
                self._settle(batch)
            else:
                batch.acknowledged.add_done_callback(_let_go)
        self._under_way.clear()

    async def _submit(self, producer: Any, place: Partition) -> _Batch:
        builder, waiting = producer.create_batch(), self._waiting[place]
        numbers, timestamps = [], []
        while waiting:
            message = self._messages[waiting[0]]
            taken = builder.append(
                timestamp=None,
                key=message.key.encode(),
                value=message.value,
                headers=list(message.headers),
            )
            if taken is None:  # full; the first is always taken
                break
            numbers.append(waiting.popleft())
            timestamps.append(taken.timestamp)
        builder.close()
        future = await producer.send_batch(builder, place.topic, partition=place.number)
        return _Batch(place, numbers, timestamps, future)

    def _settle(self, batch: _Batch) -> None:
        error = batch.acknowledged.exception()
        if error is None:
            first = batch.acknowledged.result().offset
            for index, number in enumerate(batch.numbers):
                self.records[number] = Record(
                    batch.place, first + index, self._messages[number], batch.timestamps[index] / 1000
                )
        else:
            self.failure = error
        if error is not None or not self._waiting[batch.place]:
            del self._waiting[batch.place]


def _let_go(acknowledged: Any) -> None:
    """Too late: whatever it says, it was reported as not acknowledged."""
    acknowledged.cancelled() or acknowledged.exception()


@lru_cache(maxsize=16_384)
def _number(key: str, count: int) -> int:
    """The partition of a key, as every client of Kafka chooses it."""
    return int(murmur2(key.encode()) & 0x7FFF_FFFF) % count
