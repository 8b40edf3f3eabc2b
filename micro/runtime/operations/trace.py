"""`micro events trace`: what one request or event led to, as a tree.

Three sources, none of them written for this: the gateway's access log has the requests, the bus's log the events, and the
services' inboxes say who handled them. `causationid` ties them together: the id of the request, or of the event, that a
thing was caused by.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from micro.bus.letters import Letters
from micro.clock import rfc3339
from micro.errors import UsageError
from micro.runtime.operations.filters import event_in, parse_moment
from micro.runtime.operations.reading import history, spans
from micro.telemetry.reader import find_requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from micro.bus.events import Events
    from micro.bus.message import CloudEvent, Record
    from micro.runtime.system import System

    Node = dict[str, Any]

_MOST_EVENTS = 10_000
_SQL_VARIABLES = 500
_HANDLED = "select event_id, handled_at from micro_inbox where handled_at is not null and subscriber = ? and event_id in "


class TraceOperation:
    """Finds everything with one correlation and puts it in the order of cause and effect."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._bus = system.shared.bus
        self._clock = system.shared.clock

    async def __call__(self, *, id: str, since: str = "1h") -> dict[str, Any]:
        """`{"roots": [node…]}`; `id` is a correlation, request or event id. What is older than `since` is not looked at.

        A node has `kind` and `children`. `request`: `id, time, method, path, status, duration_ms, service`. `event`:
        `id, time, type, topic, key, service` (which sent it), `partition`, `offset`. `handler`: `service, state` and
        `time`; the state is `handled`, `retrying`, `waiting` or `dead`, the last three with `attempts` and `error`.

        Raises `UsageError` where more than 10,000 events belong to it.
        """
        moment = parse_moment(since, self._clock)
        correlations = await self._correlations(id, moment)
        events = await self._events(correlations, moment)
        requests = await self._requests({id, *correlations}, moment)
        nodes = {str(node["id"]): node for node in (*requests, *map(_event_node, events))}
        await self._add_handlers(nodes, [event.id for _, event in events])
        return {"roots": _grow(nodes, events)}

    async def _correlations(self, id: str, since: float) -> set[str]:
        """The correlation ids that `id` belongs to."""
        await self._system.access_log.flush()
        found = {id, *(str(request["correlation_id"]) for request in await self._access({id}, since))}
        async with aclosing(history(self._bus, await spans(self._bus, since=since))) as records:
            async for record in records:
                event = event_in(record)
                if event is not None and id in {event.id, event.causation_id}:
                    found.add(event.correlation_id)
        return found

    async def _events(self, correlations: set[str], since: float) -> list[tuple[Record, CloudEvent]]:
        found: dict[str, tuple[Record, CloudEvent]] = {}
        async with aclosing(history(self._bus, await spans(self._bus, since=since))) as records:
            async for record in records:
                event = event_in(record)
                if event is None or event.correlation_id not in correlations or event.topic.endswith(".dlq"):
                    continue
                found.setdefault(event.id, (record, event))
                if len(found) > _MOST_EVENTS:
                    raise UsageError(
                        f"more than {_MOST_EVENTS:,} events belong to it; look back less far with --since"
                    )
        return list(found.values())

    async def _requests(self, ids: set[str], since: float) -> list[Node]:
        return [
            {
                "kind": "request",
                "id": request["request_id"],
                "time": request["time"],
                "method": request["method"],
                "path": request["path"],
                "status": request["status"],
                "duration_ms": request["duration_ms"],
                "service": request.get("upstream") or request.get("service"),
                "children": [],
            }
            for request in await self._access(ids, since)
        ]

    async def _access(self, ids: set[str], since: float) -> list[dict[str, Any]]:
        path = self._system.shared.stack.state / "logs" / "access.log"
        return await asyncio.to_thread(find_requests, path, ids, since=datetime.fromtimestamp(since, UTC))

    async def _add_handlers(self, nodes: dict[str, Node], ids: list[str]) -> None:
        for name, hosted in self._system.services.items():
            events = hosted.instance.events
            if events is None or events.consumer is None:
                continue
            for start in range(0, len(ids), _SQL_VARIABLES):
                for id, fate in (await _fates(events, ids[start : start + _SQL_VARIABLES])).items():
                    nodes[id]["children"].append({"kind": "handler", "service": name, **fate, "children": []})


async def _fates(events: Events, ids: list[str]) -> dict[str, Node]:
    """What became of these events at one subscriber."""
    subscriber = events.subscriber
    rows = await subscriber.store.query(
        f"{_HANDLED} ({', '.join('?' * len(ids))})",
        subscriber.name,
        *ids,
    )
    fates: dict[str, Node] = {
        str(row[0]): {"state": "handled", "time": _moment(float(str(row[1])))} for row in rows
    }
    for parked in await events.parking.list(Letters(ids=tuple(ids)), limit=len(ids), waiting=True):
        time = parked["failed_at"] or parked["parked_at"]
        fates[str(parked["id"])] = {
            "state": parked["state"],
            "time": time,
            "attempts": parked["attempts"],
            "error": parked["error"],
        }
    return fates


def _event_node(found: tuple[Record, CloudEvent]) -> Node:
    record, event = found
    return {
        "kind": "event",
        "id": event.id,
        "time": event.time,
        "type": event.type,
        "topic": event.topic,
        "key": event.key,
        "service": event.source,
        "partition": record.partition.number,
        "offset": record.offset,
        "children": [],
    }


def _grow(nodes: dict[str, Node], events: Iterable[tuple[Record, CloudEvent]]) -> list[Node]:
    """Hang each event below its cause: below the handler that sent it, where that is known."""
    caused = set()
    for _, event in events:
        parent = nodes.get(event.causation_id)
        if parent is None or event.causation_id == event.id:
            continue
        sender = (child for child in parent["children"] if child["kind"] == "handler")
        place = next((child for child in sender if child["service"] == event.source), parent)
        place["children"].append(nodes[event.id])
        caused.add(event.id)
    return [node for id, node in nodes.items() if id not in caused]


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
