"""Publishing: every batch acknowledged by all copies in step, in order, or reported as not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from micro.bus.kafka_errors import DRIVER_ERRORS, translate
from micro.bus.message import Partition, Record
from micro.errors import PublishFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.bus.kafka_url import Address
    from micro.bus.message import Message

ACKNOWLEDGED_IN = 30.0
"""Seconds for the acknowledgement of a batch: the driver itself would wait for ever."""
MAX_REQUEST = 1_048_576
_STOP = 5.0


class Producer:
    """One idempotent producer at a time, replaced after every failure.

    A batch that fails for good has used up its sequence numbers, and the brokers then refuse whatever follows
    (aio-libs/aiokafka#1017): only a new producer gets on.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def open(self) -> None:
        """Log in. Raises `BusUnavailable` and `ConfigurationError`."""
        await self._current()

    async def close(self) -> None:
        """Send what is under way for some seconds, then stop. Idempotent."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP):
                    await producer.stop()
                    return
            await _abandon(producer)

    async def send(self, messages: Sequence[Message]) -> list[Record]:
        """Append all. Raises `PublishFailed`, `BusUnavailable`, `EventTooLarge`."""
        producer = await self._current()
        outcomes: list[Any] = [None] * len(messages)
        try:
            async with asyncio.timeout(ACKNOWLEDGED_IN):
                for number, message in enumerate(messages):
                    outcomes[number] = await producer.send(
                        message.topic,
                        message.value,
                        key=message.key.encode(),
                        headers=list(message.headers),
                    )
                await asyncio.wait(outcomes)
        except (*DRIVER_ERRORS, TimeoutError) as error:
            await self._discard(producer)
            raise self._failed(messages, outcomes, error) from error
        failed = next((each.exception() for each in outcomes if each.exception() is not None), None)
        if failed is not None:
            await self._discard(producer)
            raise self._failed(messages, outcomes, failed) from failed
        return [_record(message, each.result()) for message, each in zip(messages, outcomes, strict=True)]

    async def _current(self) -> Any:
        if self._producer is None:
            async with self._starting:
                if self._producer is None:
                    self._producer = await self._start()
        return self._producer

    async def _start(self) -> Any:
        producer = AIOKafkaProducer(
            **self._address.options(), acks="all", enable_idempotence=True, max_request_size=MAX_REQUEST
        )
        try:
            await producer.start()
        except DRIVER_ERRORS as error:
            await _abandon(producer)
            raise translate(error, self._address.brokers) from error
        return producer

    async def _discard(self, producer: Any) -> None:
        """Stop a producer before anything of it can be sent again: its batches are somebody else's now."""
        if self._producer is producer:
            self._producer = None
            await _abandon(producer)

    def _failed(
        self, messages: Sequence[Message], outcomes: Sequence[Any], error: BaseException
    ) -> PublishFailed:
        reason = translate(error, self._address.brokers) if isinstance(error, DRIVER_ERRORS) else error
        failed: set[str] = set()
        acknowledged = set()
        for number, (message, each) in enumerate(zip(messages, outcomes, strict=True)):
            done = each is not None and each.done() and not each.cancelled() and each.exception() is None
            if done and message.key not in failed:
                acknowledged.add(number)
            else:
                failed.add(message.key)
        text = f"{len(acknowledged)} of {len(messages)} records were acknowledged: {reason}"
        return PublishFailed(text, acknowledged=frozenset(acknowledged))


async def _abandon(producer: Any) -> None:
    """Close a producer without sending what it still holds."""
    sender = producer._sender  # noqa: SLF001 # the public way waits until everything is sent
    if sender is not None and sender.sender_task is not None:
        sender.sender_task.cancel()
    producer._closed = True  # noqa: SLF001 # or it complains that nobody stopped it
    with contextlib.suppress(*DRIVER_ERRORS):
        await producer.client.close()


def _record(message: Message, place: Any) -> Record:
    return Record(Partition(place.topic, place.partition), place.offset, message, place.timestamp / 1000)
