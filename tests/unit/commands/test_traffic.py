"""What the terminal of `up` is shown, from a real control socket and a real access log."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from micro.clock import SystemClock
from micro.commands.traffic import show_events, show_requests


@pytest.fixture
async def serve(tmp_path):
    """Serves a control socket by a coroutine function, and writes down where it is."""
    folder = Path(tempfile.mkdtemp(prefix="mc"))
    servers = []

    async def start(answer) -> Path:
        servers.append(await asyncio.start_unix_server(answer, folder / "s"))
        (tmp_path / "run.json").write_text(json.dumps({"pid": 1, "socket": str(folder / "s")}))
        return tmp_path

    yield start
    for server in servers:
        server.close()
    shutil.rmtree(folder)


async def test_events_are_shown_until_the_stack_closes(serve):
    asked = []

    async def answer(reader, writer):
        line = await reader.readline()
        if line:  # the first connection only looks whether somebody listens
            asked.append(json.loads(line))
            writer.write(b'{"item": {"n": 1}}\n{"item": {"n": 2}}\n{"end": {}}\n')
        writer.close()

    shown: list[dict] = []
    async with asyncio.timeout(60):
        await show_events(await serve(answer), shown.append)
    assert shown == [{"n": 1}, {"n": 2}]
    assert asked == [{"verb": "events.tail", "args": {"follow": True, "limit": 0}}]


async def test_a_stack_that_ends_without_a_word_ends_the_showing(serve):
    async def answer(reader, writer):
        writer.transport.abort()

    shown: list[dict] = []
    async with asyncio.timeout(60):
        await show_events(await serve(answer), shown.append)
    assert shown == []


async def test_a_connection_that_breaks_ends_the_showing(serve, monkeypatch):
    async def answer(reader, writer):
        writer.close()

    async def broken(reader):
        raise ConnectionResetError

    monkeypatch.setattr(asyncio.StreamReader, "readline", broken)
    async with asyncio.timeout(60):
        await show_events(await serve(answer), print)


async def test_requests_are_shown_from_now_on(tmp_path):
    log = tmp_path / "logs" / "access.log"
    log.parent.mkdir()

    def write(year: int, path: str) -> None:
        fields = {
            "time": datetime(year, 1, 1, tzinfo=UTC).isoformat(),
            "request_id": "r",
            "correlation_id": "c",
        }
        with log.open("a") as file:
            file.write(json.dumps({**fields, "path": path}) + "\n")

    write(2020, "/old")
    seen = asyncio.Event()
    shown: list[dict] = []

    def show(record: dict) -> None:
        shown.append(record)
        seen.set()

    task = asyncio.create_task(show_requests(tmp_path, show, SystemClock()))
    await asyncio.sleep(0)  # noqa: TID251 - lets the task look at the file as it is; no time passes
    write(2100, "/new")
    async with asyncio.timeout(60):
        await seen.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [record["path"] for record in shown] == ["/new"]
