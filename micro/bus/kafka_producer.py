"""Publishing: every batch acknowledged by all copies in step, in order, or reported as not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from micro.bus.kafka_batches import Batches
from micro.bus.kafka_client import STOP_IN, hang_up, has_died, start
from micro.bus.kafka_errors import DRIVER_ERRORS, translate
from micro.errors import PublishFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.bus.kafka_url import Address
    from micro.bus.message import Message, Record

ACKNOWLEDGED_IN = 30.0
"""Seconds for the acknowledgement of a batch: the driver itself would wait for ever."""
MAX_REQUEST = 1_048_576
MAX_BATCH = 65_536
"""Bytes of a batch of several: a topic's limit is for batches, and one with a lower limit than this is not usual."""


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
            with contextlib.suppress(*DRIVER_ERRORS):
                async with asyncio.timeout(STOP_IN):
                    await producer.stop()
                    return
            await _abandon(producer)

    async def send(self, messages: Sequence[Message]) -> list[Record]:
        """Append all. Raises `PublishFailed`, `BusUnavailable`, `EventTooLarge`."""
        producer, batches = await self._current(), Batches(messages)
        try:
            async with asyncio.timeout(ACKNOWLEDGED_IN):
                await batches.send(producer)
        except DRIVER_ERRORS as error:
            batches.settle()
            batches.failure = error
        if batches.failure is not None:
            await self._discard(producer)
            raise self._failed(messages, batches) from batches.failure
        return [record for record in batches.records if record is not None]

    async def _current(self) -> Any:
        if self._producer is not None and has_died(self._producer):
            await self._discard(self._producer)
        if self._producer is None:
            async with self._starting:
                if self._producer is None:
                    self._producer = await self._start()
        return self._producer

    async def _start(self) -> Any:
        producer = AIOKafkaProducer(
            **self._address.options(),
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_REQUEST,
            max_batch_size=MAX_BATCH,
        )
        return await start(producer, self._address.brokers, drop=_abandon)

    async def _discard(self, producer: Any) -> None:
        """Stop a producer before anything of it can be sent again: its batches are somebody else's now."""
        if self._producer is producer:
            self._producer = None
            await _abandon(producer)

    def _failed(self, messages: Sequence[Message], batches: Batches) -> PublishFailed:
        reason = batches.failure
        if isinstance(reason, DRIVER_ERRORS):
            reason = translate(reason, self._address.brokers)
        failed: set[str] = set()
        acknowledged = set()
        for number, (message, record) in enumerate(zip(messages, batches.records, strict=True)):
            if record is not None and message.key not in failed:
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
    await hang_up(producer.client)
