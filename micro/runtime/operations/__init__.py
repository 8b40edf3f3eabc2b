"""What every verb does, in the process that holds the stack: the running one, or a command that took the locks.

| Verb | Arguments (all named) | Answer |
|---|---|---|
| `ps` | | end `{"items": [{service, instance, pid, url, state, restarts, reloads, uptime, cpu, memory}]}` |
| `health` | | end as `GET /health` |
| `wait` | `timeout` s | end `{"ready": bool, …health}` once all are healthy, or at the time-out |
| `routes` | `method`, `path` and `headers`, or none | end `{"items": […]}`, or what that request would meet |
| `routes.reload` | | end `{"changed": bool, "notes": […]}` |
| `events.list` | `topic`, `type`, `key`, `correlation`, `since`, `limit` | items, oldest first |
| `events.tail` | the same, `follow` | items, as they come |
| `events.publish` | `topic`, `type`, `key`, `data` | end: the event with its place |
| `events.trace` | `id`, `since` | end: see `operations.trace` |
| `events.replay` | `service`, `topic`, `type`, `key`, `since`, `until`, `dry_run` | end `{service, events}` |
| `events.stats` | | end `{"topics": […], "subscribers": […], "outboxes": […]}` |
| `dlq.list` | `service`, `topic`, `type`, `exception`, `limit` | items, oldest first |
| `dlq.inspect` | `id`, `service` | end |
| `dlq.replay`, `dlq.skip`, `dlq.purge` | as `dlq.list`, `ids` or `everything`, `dry_run` | end `{"items": […]}` |
| `db.migrate`, `db.status` | `service` | end `{"items": [{service, number, name, applied_at}], "made": […]}`: the databases made |
| `db.query` | `service`, `sql`, `write` | end `{"columns": […], "rows": [[…]], "changed": n}` |
| `stop` | | end `{"pid": n}` at once; then the stack drains |
| `reload` | `service` | end `{"reloaded": […], "errors": […]}` |
| `restart` | `service` | end `{"service", "instances": […]}`: the names of those that run then |
| `scale` | `service`, `count` | the same |

An event is `{"topic", "partition", "offset", "event"}`. Times in answers are RFC 3339; `since` and `until` take those
and spans (`90s`, `15m`, `1h`, `7d`) back from now. Verbs about a running stack raise `StackNotRunning` without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.runtime.operations.db import DatabaseOperations
from micro.runtime.operations.dlq import Chosen, DeadLetterOperations
from micro.runtime.operations.events import EventOperations, Publication
from micro.runtime.operations.filters import EventQuery, taking
from micro.runtime.operations.replaying import Replay, ReplayOperation
from micro.runtime.operations.stack import Live, StackOperations
from micro.runtime.operations.trace import TraceOperation

if TYPE_CHECKING:
    from micro.runtime.control import Verb
    from micro.runtime.system import System

__all__ = ["Live", "verbs_of"]


def verbs_of(system: System, live: Live | None = None) -> dict[str, Verb]:
    """Every verb by name. Without `live` nothing runs: the verbs about a running stack raise `StackNotRunning`."""
    stack, db = StackOperations(system, live), DatabaseOperations(system)
    events, dlq = EventOperations(system), DeadLetterOperations(system)
    return {
        "ps": stack.ps,
        "health": stack.health,
        "wait": stack.wait,
        "routes": stack.routes,
        "routes.reload": stack.reload_routes,
        "reload": stack.reload,
        "restart": stack.restart,
        "scale": stack.scale,
        "stop": stack.stop,
        "events.list": taking(EventQuery, events.select),
        "events.tail": taking(EventQuery, events.tail),
        "events.publish": taking(Publication, events.publish),
        "events.stats": events.stats,
        "events.trace": TraceOperation(system).__call__,
        "events.replay": taking(Replay, ReplayOperation(system).__call__),
        "dlq.list": taking(Chosen, dlq.select),
        "dlq.inspect": dlq.inspect,
        "dlq.replay": taking(Chosen, dlq.replay),
        "dlq.skip": taking(Chosen, dlq.skip),
        "dlq.purge": taking(Chosen, dlq.purge),
        "db.migrate": db.migrate,
        "db.status": db.status,
        "db.query": db.query,
    }
