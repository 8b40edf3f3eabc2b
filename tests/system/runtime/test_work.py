"""What a stack at work does: events flow, verbs are answered, health is watched, and nothing committed is lost."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from micro.runtime.state import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 60.0

SHOP = """
import os
from micro import Event, Service
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

class Noted(Event, topic="shop.events"):
    number: int

class Kept(Event, topic="kept.events"):
    number: int

async def note(request):
    async with request.state.micro.transaction() as tx:
        tx.emit(Noted(number=int(request.path_params["number"])), key="k")
    return JSONResponse({}, status_code=201)

async def seen(request):
    rows = await request.state.micro.query("select number, times from seen order by number")
    return JSONResponse([list(row) for row in rows])

app = Starlette(routes=[Route("/note/{number}", note), Route("/seen", seen)])
service = Service("shop", app=app, routes=["/note", "/seen"], migrations="migrations", publishes=[Noted, Kept])

@service.on("Noted", topic="shop.events")
async def keep(event, tx):
    wait = os.environ.get("HANDLER")
    if wait:
        import asyncio
        await asyncio.to_thread(begin, wait)
    await tx.execute(
        "insert into seen (number, times) values (?, 1) on conflict do update set times = times + 1", event.data["number"]
    )
    tx.emit(Kept(number=event.data["number"]), key="k")

def begin(path):
    with open(path, "w") as begun:
        begun.write("begun")
    with open(path) as release:
        release.read()
"""

ILL = """
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def state(request):
    return PlainTextResponse("", status_code=503 if os.path.exists(os.environ["ILL"]) else 200)

app = Starlette(routes=[Route("/state", state)])
"""

WORKER = """
from micro import Service

service = Service("worker", app=None)
runs = []

@service.background
async def deliver(micro):
    runs.append(1)
    if len(runs) == 1:
        raise OSError("no mail server")
"""


@pytest.fixture
def shop(write: Any, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_seen.sql").write_text(
        "create table seen (number integer primary key, times integer not null) strict;"
    )
    write('[services.shop]\nservice = "shop:service"\n', shop=SHOP)


@contextmanager
def asking(folder: Path, verb: str, **args: Any) -> Iterator[Any]:
    """A client of the control socket that reads line by line."""
    record = read_run(folder / ".micro")
    assert record is not None
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        client.connect(record.socket)
        client.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        with client.makefile("rb") as lines:
            yield (json.loads(line) for line in lines)


def seen(stack: Any, count: int) -> list[list[int]]:
    """What the handler has kept, once it has seen so many."""
    while True:
        rows = json.loads(stack.get("/seen")[1])
        if len(rows) >= count:
            return rows


def test_a_tail_in_another_terminal_shows_events_as_they_come(start: Any, shop: None, tmp_path: Path) -> None:
    stack = start().until_ready()
    stack.get("/note/1")
    seen(stack, 1)
    with asking(tmp_path, "events.tail", topic="shop.events", since="1h") as lines:
        assert next(lines)["item"]["event"]["data"] == {"number": 1}
        stack.get("/note/2")
        assert next(lines)["item"]["event"]["data"] == {"number": 2}
        with asking(tmp_path, "ps") as others:
            assert next(others)["end"]["items"]
    assert stack.stop() == 0


def test_stopping_ends_a_tail(start: Any, shop: None, tmp_path: Path) -> None:
    stack = start().until_ready()
    stack.get("/note/1")
    with asking(tmp_path, "events.tail", since="1h", topic="shop.events") as lines:
        next(lines)
        stack.send(signal.SIGTERM)
        assert list(lines) == []
    assert stack.wait() == 0


def test_a_tail_that_nobody_reads_does_not_keep_the_stack_from_its_work(
    start: Any, shop: None, tmp_path: Path
) -> None:
    stack = start().until_ready()
    for number in range(50):
        stack.ask(
            "events.publish", topic="notes", type="Noted", key="a", data={"text": "x" * 100_000, "n": number}
        )
    with asking(tmp_path, "events.tail", topic="notes", since="1h"):
        stack.get("/note/1")
        assert seen(stack, 1) == [[1, 1]]
    assert stack.stop() == 0


def test_an_event_in_hand_is_finished_before_the_stack_ends(
    start: Any, shop: None, tmp_path: Path, release: Path
) -> None:
    stack = start(HANDLER=str(release)).until_ready()
    stack.get("/note/1")
    assert release.read_text() == "begun"
    stack.send(signal.SIGTERM)
    stack.until("stopping")
    release.write_text("go on")
    assert stack.wait() == 0
    again = start().until_ready()
    assert seen(again, 1) == [[1, 1]]
    assert again.stop() == 0


@pytest.mark.crash
def test_an_event_in_hand_at_kill_9_is_handled_once_by_the_next_run(
    start: Any, shop: None, tmp_path: Path, release: Path
) -> None:
    stack = start(HANDLER=str(release)).until_ready()
    stack.get("/note/1")
    assert release.read_text() == "begun"
    stack.process.kill()
    stack.wait()
    again = start().until_ready()
    again.get("/note/2")
    assert seen(again, 2) == [[1, 1], [2, 1]]
    assert again.stop() == 0


@pytest.mark.crash
def test_what_was_answered_before_kill_9_reaches_its_handler_once_and_in_order(
    start: Any, shop: None, tmp_path: Path
) -> None:
    answered = 0
    for _ in range(3):
        stack = start().until_ready()
        for _ in range(10):
            assert stack.get(f"/note/{answered}")[0] == 201
            answered += 1
        stack.process.kill()
        stack.wait()
    stack = start().until_ready()
    assert seen(stack, answered) == [[number, 1] for number in range(answered)]
    while True:  # until what the handlers sent has left, too
        items, _ = stack.ask("events.list", topic="kept.events", limit=0)
        numbers = list(dict.fromkeys(item["event"]["data"]["number"] for item in items))
        if len(numbers) == answered:
            break
    assert numbers == list(range(answered))
    assert stack.stop() == 0


def test_a_service_that_is_unwell_shows_at_the_gateway_and_in_the_events(
    start: Any, write: Any, tmp_path: Path
) -> None:
    write(
        '[services.ill]\napp = "ill:app"\nhealth = "/state"\n[services.well]\napp = "ill:app"\nhealth = "/health"\n',
        ill=ILL,
    )
    flag = tmp_path / "flag"
    stack = start(ILL=str(flag)).until_ready()
    assert json.loads(stack.get("/health")[1])["status"] == "healthy"
    flag.touch()
    with asking(tmp_path, "events.tail", type="InstanceUnhealthyEvent", since="1h") as lines:
        assert next(lines)["item"]["event"]["data"]["service"] == "ill"
    health = json.loads(stack.get("/health")[1])
    assert health["status"] == "degraded"
    assert health["services"] == {"ill": "unhealthy", "well": "healthy"}
    flag.unlink()
    assert stack.ask("wait", timeout=LIMIT)[1]["ready"] is True
    assert stack.stop() == 0


def test_one_that_is_unwell_from_the_start_is_in_the_report(start: Any, write: Any, tmp_path: Path) -> None:
    write('[services.ill]\napp = "ill:app"\nhealth = "/state"\n', ill=ILL)
    (tmp_path / "flag").touch()
    stack = start(ILL=str(tmp_path / "flag")).until_ready()
    assert [each["health"] for each in stack.report["services"]] == ["unhealthy"]
    assert stack.get("/health")[0] == 503
    assert stack.stop() == 0


def test_a_worker_that_fails_is_said_and_starts_again(start: Any, write: Any) -> None:
    write('[services.worker]\nservice = "worker:service"\n', worker=WORKER)
    stack = start().until_ready()
    while True:
        [worker] = [each for each in stack.ask("ps")[1]["items"] if each["service"] == "worker"]
        if worker["restarts"]:
            break
    assert worker["restarts"] == 1
    assert stack.stop() == 0
    assert "worker: deliver failed" in stack.errors
    assert "no mail server" in stack.errors


def test_events_about_instances_tell_a_whole_life(start: Any, shop: None) -> None:
    stack = start().until_ready()
    assert stack.stop() == 0
    again = start().until_ready()
    while True:
        items, _ = again.ask("events.list", topic="system.events")
        if len(items) >= 5:
            break
    types = [item["event"]["type"] for item in items]
    assert types[:3] == ["InstanceStartedEvent", "InstanceHealthyEvent", "InstanceStoppedEvent"]
    assert again.stop() == 0


def test_every_request_is_in_the_access_log_after_the_stop(start: Any, shop: None, tmp_path: Path) -> None:
    stack = start().until_ready()
    for number in range(5):
        stack.get(f"/note/{number}")
    assert stack.stop() == 0
    lines = (tmp_path / ".micro" / "logs" / "access.log").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [f"/note/{number}" for number in range(5)]


def test_without_reload_edits_are_left_alone(start: Any, shop: None, tmp_path: Path) -> None:
    stack = start("--no-reload").until_ready()
    assert stack.report["reload"] is False
    (tmp_path / "shop.py").write_text("syntax error(")
    assert stack.get("/note/1")[0] == 201
    assert "not reloaded" in stack.ask("reload", service="shop")[1]["errors"][0]
    assert stack.get("/note/2")[0] == 201
    assert stack.stop() == 0
