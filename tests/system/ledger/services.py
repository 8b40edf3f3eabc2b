"""A stack that keeps evidence: one service commits entries, two others note each event that they apply.

Both ends of the event path are tables without a unique key, so whatever is lost, doubled or out of order can be counted
afterwards. Each entry is numbered, per key in the order of the commits. Entries that are `flaky` fail a few times before
they succeed; those that are `risky` fail for as long as the file that LEDGER_BROKEN names exists, and become dead
letters at once.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from micro import Event, Retry, Service
from micro.clock import SystemClock
from micro.errors import MicroError
from micro.web.problems import problem_response, to_problem

TOPIC = "entry.events"
NEXT = (
    "insert into counter (key, entries) values (?, 1) "
    "on conflict (key) do update set entries = counter.entries + 1 returning entries"
)
"""Holds the key until the commit, so that nobody else's entry of it can come in between."""
_clock = SystemClock()


class Entered(Event, topic=TOPIC, version=1):
    """Somebody entered something; `flaky` is how often its handling fails in one process."""

    request: str
    flaky: int


class Risky(Event, topic=TOPIC, version=1):
    """As `Entered`, and nobody can handle it while something is broken."""

    request: str


class Noted(Event, topic="note.events", version=1):
    """The subscriber `second` has applied an event: what a handler emits."""

    of: str


async def enter(request):
    """Commit some entries together with their events, after a rest of `hold` seconds; answers with the events' ids."""
    form = await request.json()
    ids = []
    async with request.state.micro.transaction() as tx:
        for entry in form["entries"]:
            key, type = entry["key"], entry["type"]
            event = (
                Risky(request=form["request"])
                if type == "Risky"
                else Entered(request=form["request"], flaky=entry["flaky"])
            )
            ids.append(tx.emit(event, key=key))
            [(nth,)] = await tx.query(NEXT, key)
            await tx.execute(
                "insert into entry (event_id, request, type, key, nth) values (?, ?, ?, ?, ?)",
                ids[-1],
                form["request"],
                type,
                key,
                nth,
            )
        await _clock.sleep(form.get("hold", 0))
    return JSONResponse({"ids": ids}, status_code=201)


async def refuse(request, error):
    """What micro would answer, in the place of the framework's 500."""
    return problem_response(to_problem(error))


app = Starlette(routes=[Route("/entries", enter, methods=["POST"])], exception_handlers={MicroError: refuse})
source = Service(
    "source", app=app, routes=["/entries"], migrations="migrations/source", publishes=[Entered, Risky]
)
first = Service("first", migrations="migrations/subscriber")
second = Service("second", migrations="migrations/subscriber", publishes=[Noted])

SOON = Retry(attempts=20, base=0.005, cap=0.02)
AT_ONCE_DEAD = Retry(attempts=2, base=0.005, cap=0.02)
_tries: Counter[str] = Counter()


async def apply(event, tx, note_id=None):
    await tx.execute(
        "insert into applied (event_id, type, key, note_id) values (?, ?, ?, ?)",
        event.id,
        event.type,
        event.key,
        note_id,
    )


for type, topic in (("Entered", TOPIC), ("Risky", TOPIC), ("Noted", Noted.topic)):
    first.on(type, topic=topic)(apply)


@second.on("Entered", topic=TOPIC, retry=SOON)
async def apply_flaky(event, tx):
    await apply(event, tx, tx.emit(Noted(of=event.id), key=event.key))
    _tries[event.id] += 1
    if _tries[event.id] <= event.data["flaky"]:
        raise ConnectionError("flaky")


@second.on("Risky", topic=TOPIC, retry=AT_ONCE_DEAD)
async def apply_risky(event, tx):
    await apply(event, tx, tx.emit(Noted(of=event.id), key=event.key))
    if Path(os.environ["LEDGER_BROKEN"]).exists():
        raise ValueError("broken")
