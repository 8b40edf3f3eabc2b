"""`micro events replay`: a range of the log through one service's handlers again."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from micro.bus.replay import Range
from micro.errors import NotFound, UsageError
from micro.runtime.operations.filters import EventQuery, event_in, parse_moment
from micro.runtime.operations.reading import history, spans
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from micro.bus.events import Events
    from micro.runtime.system import System


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events to apply again, and to whom."""

    service: str
    topic: str | None = None
    type: str | None = None
    key: str | None = None
    since: str | None = None
    until: str | None = None
    dry_run: bool = False
    """Count them, and do nothing."""


class ReplayOperation:
    """Applies past events again. Live positions don't move."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._bus = system.shared.bus
        self._clock = system.shared.clock

    async def __call__(self, wanted: Replay) -> dict[str, Any]:
        """How many events were (or would be) applied again: `{service, events}`, with `parked` once it was done.

        Raises `NotFound` for an unknown service or topic, `UsageError` for a service without handlers.
        """
        events = self._events(wanted.service)
        topics = await self._topics(events, wanted.topic)
        ranges = [
            Range(
                topic=topic,
                since=self._moment(wanted.since),
                until=self._moment(wanted.until),
                type=wanted.type,
                key=wanted.key,
            )
            for topic in topics
        ]
        if wanted.dry_run:
            return {
                "service": wanted.service,
                "events": sum([await self._count(each, events) for each in ranges]),
            }
        applied = parked = 0
        for each in ranges:
            last = {}
            async for progress in events.replay(each):
                last[progress.partition] = progress
            applied += sum(progress.applied for progress in last.values())
            parked += sum(progress.parked for progress in last.values())
        return {"service": wanted.service, "events": applied + parked, "parked": parked}

    def _events(self, service: str) -> Events:
        events = self._system.hosted(service).instance.events
        if events is None or events.consumer is None:
            raise UsageError(f"{service} subscribes to no events, so there is nothing to apply again")
        return events

    async def _topics(self, events: Events, topic: str | None) -> list[str]:
        known = await self._bus.topics()
        if topic is None:
            return sorted(known.keys() & events.subscriber.topics)
        if topic not in events.subscriber.topics:
            raise NotFound(
                f"{events.subscriber.name} does not subscribe to {topic}{did_you_mean(topic, events.subscriber.topics)}"
            )
        return [topic] if topic in known else []

    async def _count(self, wanted: Range, events: Events) -> int:
        query = EventQuery(topic=wanted.topic, type=wanted.type, key=wanted.key)
        found: set[str] = set()
        past = await spans(self._bus, query.topics, since=wanted.since)
        async with aclosing(history(self._bus, past)) as records:
            async for record in records:
                event = event_in(record)
                if event is None or (wanted.until is not None and record.timestamp >= wanted.until):
                    continue
                handler = events.subscriber.handler(event)
                if handler is not None and handler.replay and query.takes(event):
                    found.add(event.id)
        return len(found)

    def _moment(self, text: str | None) -> float | None:
        return None if text is None else parse_moment(text, self._clock)
