"""`micro events`: what the services told each other, and what waits where."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from micro.bus.codec import encode, to_json
from micro.bus.origin import Origin
from micro.clock import rfc3339
from micro.errors import UsageError
from micro.runtime.operations.filters import event_in, parse_moment
from micro.runtime.operations.reading import Span, follow, history, spans

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from micro.bus.message import Partition, Record
    from micro.runtime.operations.filters import EventQuery
    from micro.runtime.system import System


_LISTED = 50
"""Events of a list, unless the person says how many."""


class Publication(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event that somebody publishes by hand."""

    topic: str
    type: str
    key: str
    data: dict[str, Any] = {}


class EventOperations:
    """Lists, follows, publishes and counts."""

    def __init__(self, system: System) -> None:
        self._services = system.services
        self._bus = system.shared.bus
        self._clock = system.shared.clock

    async def select(self, query: EventQuery) -> AsyncIterator[dict[str, Any]]:
        """Past events, oldest first, as many as asked."""
        past = await spans(self._bus, query.topics, since=self._since(query))
        async with aclosing(self._matching(query, history(self._bus, past), limit=_LISTED)) as records:
            async for record in records:
                yield to_json(record)

    async def tail(self, query: EventQuery) -> AsyncIterator[dict[str, Any]]:
        """Events from `since` on (from now, without one), then those that come, unless `follow` is off."""
        now = await spans(self._bus, query.topics)
        ends = {partition: span.end for partition, span in now.items()}
        past: Mapping[Partition, Span] = {}
        if query.since is not None or not query.follow:
            past = await self._until(ends, query)
        async with aclosing(
            self._matching(query, self._past_and_future(past, ends, query), limit=0)
        ) as records:
            async for record in records:
                yield to_json(record)

    async def publish(self, wanted: Publication) -> dict[str, Any]:
        """Publish one event by hand, with nothing that it commits with; the event with its place.

        Raises `UsageError` for a key or text that can't be carried, `EventTooLarge`, `BusUnavailable`.
        """
        origin = Origin("cli", self._clock)
        try:
            message = encode(origin.event(wanted.topic, wanted.type, wanted.data, key=wanted.key))
        except ValueError as error:
            raise UsageError(str(error)) from error
        (record,) = await self._bus.publish([message])
        return to_json(record)

    async def stats(self) -> dict[str, Any]:
        """What is in the topics, how far each subscriber is behind, and what waits in the outboxes."""
        now = await spans(self._bus)
        works = [each.instance.events for each in self._services.values() if each.instance.events is not None]
        stats = await asyncio.gather(*(events.stats() for events in works))
        return {
            "topics": await asyncio.gather(*(self._topic(name, now) for name in _topics(now))),
            "subscribers": [row for each in stats for row in _subscriptions(each)],
            "outboxes": [self._outbox(each) for each in stats],
        }

    def _since(self, query: EventQuery) -> float | None:
        return None if query.since is None else parse_moment(query.since, self._clock)

    async def _until(self, ends: Mapping[Partition, int], query: EventQuery) -> dict[Partition, Span]:
        past = await spans(self._bus, query.topics, since=self._since(query))
        return {partition: Span(past[partition].start, end) for partition, end in ends.items()}

    async def _past_and_future(
        self, past: Mapping[Partition, Span], ends: Mapping[Partition, int], query: EventQuery
    ) -> AsyncGenerator[Record, None]:
        sources = [history(self._bus, past)]
        if query.follow:
            sources.append(follow(self._bus, ends, query.topics, clock=self._clock))
        for source in sources:
            async with aclosing(source) as records:
                async for record in records:
                    yield record

    async def _matching(
        self, query: EventQuery, source: AsyncGenerator[Record, None], *, limit: int
    ) -> AsyncGenerator[Record, None]:
        left = limit if query.limit is None else query.limit
        async with aclosing(source) as records:
            async for record in records:
                if query.takes(event_in(record)):
                    yield record
                    left -= 1
                    if not left:
                        return

    async def _topic(self, name: str, now: Mapping[Partition, Span]) -> dict[str, Any]:
        mine = {partition: span for partition, span in now.items() if partition.topic == name}
        lasts = [
            self._bus.read(partition, span.end - 1, limit=1)
            for partition, span in mine.items()
            if span.start < span.end
        ]
        newest = [record.timestamp for record in chain(*await asyncio.gather(*lasts))]
        return {
            "topic": name,
            "partitions": len(mine),
            "events": sum(span.end - span.start for span in mine.values()),
            "newest": _moment(max(newest)) if newest else None,
        }

    def _outbox(self, stats: Mapping[str, Any]) -> dict[str, Any]:
        depth, age = stats["outbox"]["depth"], stats["outbox"]["oldest_age"]
        oldest = None if age is None else _moment(self._clock.now().timestamp() - age)
        return {"service": stats["service"], "waiting": depth, "oldest": oldest, **stats["relay"]}


def _subscriptions(stats: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a topic; what is parked belongs to the subscriber as a whole and stands in each."""
    behind: Counter[str] = Counter()
    for partition, lag in stats["lag"].items():
        behind[partition.rpartition("/")[0]] += lag
    whole = {name: stats[name] for name in ("parked", "dead", "in_flight", "consuming", "error")}
    return [
        {"subscriber": stats["service"], "topic": topic, "lag": lag, **whole} for topic, lag in behind.items()
    ]


def _topics(now: Mapping[Partition, Span]) -> list[str]:
    return list(dict.fromkeys(partition.topic for partition in now))


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
