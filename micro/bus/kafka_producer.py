"""Publishing: every batch acknowledged by all copies in step, in order, or reported as not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from micro.bus.kafka_batches import Batches
from micro.bus.kafka_client import Client, abandon, answering, start
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
        # What a producer that is replaced still holds is somebody else's to send.
        self._client = Client(address.brokers, self._start, drop=abandon)

    async def open(self) -> None:
        """Log in. Raises `BusUnavailable` and `ConfigurationError`."""
        await self._client.open()

    async def close(self) -> None:
        """Send what is under way for some seconds, then stop. Idempotent."""
        await self._client.close()

    async def send(self, messages: Sequence[Message]) -> list[Record]:
        """Append all. Raises `PublishFailed`, `BusUnavailable`, `EventTooLarge`."""
        producer, batches = await self._client.current(), Batches(messages)
        try:
            async with answering(ACKNOWLEDGED_IN):
                await batches.send(producer)
        except DRIVER_ERRORS as error:
            batches.settle()
            batches.failure = error
        except asyncio.CancelledError:
            batches.settle()  # whatever comes of them, nobody asks any more
            raise
        if batches.failure is not None:
            await self._client.replace(producer)
            raise self._failed(messages, batches) from batches.failure
        return [record for record in batches.records if record is not None]

    async def _start(self) -> Any:
        producer = AIOKafkaProducer(
            **self._address.options(),
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_REQUEST,
            max_batch_size=MAX_BATCH,
        )
        return await start(producer, self._address.brokers, drop=abandon)

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
