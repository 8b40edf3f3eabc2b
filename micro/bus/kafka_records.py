"""The driver's records and partitions as ours, and the other way round."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from micro.bus.message import Message, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Iterable


_VALUE = itemgetter(1)


def theirs(partition: Partition) -> TopicPartition:
    """A partition as the driver names it."""
    return TopicPartition(partition.topic, partition.number)


def ours(partition: TopicPartition) -> Partition:
    """A partition as we name it."""
    return Partition(partition.topic, partition.partition)


def to_records(partition: Partition, found: Iterable[Any]) -> list[Record]:
    """What a fetch gave. A record without key or value, which somebody else has written, has empty ones."""
    return [
        Record(
            partition,
            each.offset,
            Message(
                partition.topic,
                (each.key or b"").decode("utf-8", "replace"),
                each.value or b"",
                each.headers if all(map(_VALUE, each.headers)) else _filled(each.headers),
            ),
            each.timestamp / 1000,
        )
        for each in found
    ]


def _filled(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value or b"") for name, value in headers)
