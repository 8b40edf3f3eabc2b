"""Replay: a range of the log goes through one subscriber's handlers again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from micro.bus.delivery import Delivery
from micro.bus.intake import APPLIED, PARKED, Intake
from micro.bus.message import Partition
from micro.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from micro.bus.message import Record
    from micro.bus.ports import Log
    from micro.bus.subscriber import Subscriber

_BATCH = 100
_REMEMBERED = 100_000
"""Ids of a partition kept to tell a duplicate on the wire, which a relay makes within one of its batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which part of a topic: by time (epoch seconds) or by offset; `until` and `end` are the first not taken."""

    topic: str
    partition: int | None = None
    start: int | None = None
    end: int | None = None
    since: float | None = None
    until: float | None = None
    type: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a replay has come in one partition: `offset` of `end`, and what became of the events since `start`."""

    partition: int
    offset: int
    end: int
    applied: int
    parked: int
    skipped: int


async def replay(span: Range, subscriber: Subscriber, log: Log) -> AsyncIterator[Progress]:
    """Apply every event of `span` again, each once, in order per key; progress after every batch.

    An event's inbox row is cleared in the transaction that applies it. What fails is parked, as it would be live; what
    is parked already stays where it is. Subscriptions with ``replay=False`` are left out. The range ends where the log
    ends now; no position moves. Raises `NotFound` for a topic or partition that isn't there, `StoreUnavailable` and
    `BusUnavailable` when interrupted: the same call again is safe.
    """
    partitions = (await log.topics()).get(span.topic, 0)
    numbers = range(partitions) if span.partition is None else [span.partition]
    if not partitions:
        raise NotFound(f"the log has no {span.topic}")
    if span.partition is not None and not 0 <= span.partition < partitions:
        raise NotFound(f"the log has no {span.topic} partition {span.partition}")
    intake = Intake(subscriber, again=True)
    for number in numbers:
        async for progress in _replay_partition(
            span, Partition(span.topic, number), (subscriber, intake, log)
        ):
            yield progress


async def _replay_partition(
    span: Range, partition: Partition, parts: tuple[Subscriber, Intake, Log]
) -> AsyncIterator[Progress]:
    subscriber, intake, log = parts
    bounds = await log.bounds(partition, since=span.since)
    offset = max(bounds.start, span.start or 0)
    end = bounds.end if span.end is None else min(bounds.end, span.end)
    if span.until is not None:
        end = min(end, (await log.bounds(partition, since=span.until)).start)
    applied = parked = skipped = 0
    seen: dict[str, None] = {}
    while offset < end and (records := await log.read(partition, offset, limit=_BATCH)):
        records = [record for record in records if record.offset < end]
        chosen = _chosen(records, span, subscriber, seen)
        tally = await intake.take(chosen) if chosen else {}
        applied += tally.get(APPLIED, 0)
        parked += tally.get(PARKED, 0)
        skipped += len(records) - tally.get(APPLIED, 0) - tally.get(PARKED, 0)
        offset = records[-1].offset + 1 if records else end
        yield Progress(
            partition=partition.number,
            offset=offset,
            end=end,
            applied=applied,
            parked=parked,
            skipped=skipped,
        )


def _chosen(
    records: Sequence[Record], span: Range, subscriber: Subscriber, seen: dict[str, None]
) -> list[Delivery]:
    chosen = []
    for delivery in map(Delivery.of, records):
        event = delivery.event
        handler = subscriber.handler(event) if event is not None else None
        if event is None or handler is None or not handler.replay or event.id in seen:
            continue
        if span.type in {None, event.type} and span.key in {None, event.key}:
            chosen.append(delivery)
            seen[event.id] = None
            if len(seen) > _REMEMBERED:
                del seen[next(iter(seen))]
    return chosen
