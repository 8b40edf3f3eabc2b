"""The outbox: events leave only through rows of the transaction that caused them.

Pattern: https://microservices.io/patterns/data/transactional-outbox.html
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from micro.bus.codec import encode
from micro.bus.origin import Origin
from micro.bus.ports import BESIDE
from micro.errors import ConfigurationError, EventTooLarge

if TYPE_CHECKING:
    from collections.abc import Collection

    from micro.bus.message import Event, Message
    from micro.clock import Clock
    from micro.store.ports import Transaction

BUCKETS = 64
"""Slices of the keys, fixed with the schema: what relays share among them."""

_INSERT = (
    "insert into micro_outbox (bucket, topic, key, value, headers, created_at) values (?, ?, ?, ?, ?, ?)"
)


class Outbox:
    """One service's events on their way into its database.

    `committed` is set whenever there may be something to send. It is a hint: rows are the truth.
    """

    def __init__(
        self, source: str, *, clock: Clock, max_bytes: int, publishes: Collection[type[Event]]
    ) -> None:
        self.source = source
        self._origin = Origin(source, clock)
        self._clock = clock
        self.max_bytes = max_bytes
        self._publishes = frozenset(publishes)
        self.committed = asyncio.Event()
        self.ours = False
        """Whether a transaction of this process has committed events since this was last taken back."""

    def add(self, tx: Transaction, event: Event, key: str) -> str:
        """Publish `event` if and when `tx` commits; its id. Per key, row order is commit order.

        Raises `ConfigurationError` for a type that the service does not declare, `EventTooLarge`, and `ValueError` for
        a key or text that can't be carried; all before anything is stored.
        """
        kind = type(event)
        if kind not in self._publishes:
            raise ConfigurationError(
                f"{self.source} emits {kind.__name__}, which it does not declare: "
                f"add it to publishes=[…] of its Service"
            )
        sealed = self._origin.of(event, key)
        self.add_message(tx, encode(sealed))
        return sealed.id

    def add_message(self, tx: Transaction, message: Message) -> None:
        """Publish bytes if and when `tx` commits. Raises `EventTooLarge`."""
        if len(message.value) > self.max_bytes:
            raise EventTooLarge(
                f"{message.topic}: an event of {len(message.value):,} bytes; the bus takes {self.max_bytes:,}"
            )
        tx.at_commit(
            _INSERT,
            bucket_of(message.key),
            message.topic,
            message.key,
            message.value,
            pack_headers(message.headers),
            self._clock.now().timestamp(),
            ordered_by=message.key,
        )

    def takes(self, message: Message) -> bool:
        """Whether the bus would take that message, its key and headers included."""
        return len(message.value) <= self.max_bytes and message.size <= self.max_bytes + BESIDE

    def wake(self) -> None:
        """Say that a transaction of this process has committed events."""
        self.ours = True
        self.committed.set()

    def look(self) -> None:
        """Say that there may be some, of whatever process."""
        self.committed.set()


def bucket_of(key: str) -> int:
    """The bucket of a key. The same in every process and every release: rows carry it."""
    return crc32(key.encode()) % BUCKETS


def pack_headers(headers: tuple[tuple[str, bytes], ...]) -> bytes:
    """Headers as one column: JSON pairs, values in base64."""
    return msgspec.json.encode(headers)


_headers = msgspec.json.Decoder(tuple[tuple[str, bytes], ...])


def unpack_headers(packed: bytes) -> tuple[tuple[str, bytes], ...]:
    """What `pack_headers` was given."""
    return _headers.decode(packed)
