"""The runner's life in this process: what it does when parts of it are slow or stuck."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from micro.runtime import single
from micro.runtime.inprocess import ask
from micro.runtime.instance import Instance
from micro.runtime.options import RunnerOptions
from micro.runtime.single import SingleRunner
from micro.runtime.state import StateFolder
from micro.runtime.stop import Stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from micro.runtime.report import Report

LIMIT = 60.0


class Observer:
    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self.report: Report | None = None
        self.was_stopping = False
        self.is_stopping = asyncio.Event()
        self.notices: list[str] = []

    def ready(self, report: Report) -> None:
        self.report = report
        self.is_ready.set()

    def stopping(self) -> None:
        self.was_stopping = True
        self.is_stopping.set()

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture
async def observer() -> Observer:
    return Observer()


@pytest.fixture
async def stop() -> Stop:
    return Stop()


@pytest.fixture
def state(folder: Any) -> Any:
    held = StateFolder(folder / ".micro")
    held.acquire()
    yield held
    held.release()


@pytest.fixture
async def start(build: Any, state: StateFolder, observer: Observer, stop: Stop) -> AsyncIterator[Any]:
    """`start(**setting)` runs the system in a task until it is ready."""
    tasks: list[asyncio.Task[None]] = []

    async def run(**setting: Any) -> asyncio.Task[None]:
        system = build()
        runner = SingleRunner(
            system, RunnerOptions(folder=state, observer=observer, stop=stop, began=0.0, **setting)
        )
        task = asyncio.create_task(runner.run())
        tasks.append(task)
        ready = asyncio.create_task(observer.is_ready.wait())
        async with asyncio.timeout(LIMIT):
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return task

    yield run
    stop.ask()
    for task in tasks:
        await asyncio.gather(task, return_exceptions=True)


async def connect(observer: Observer, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert observer.report is not None
    host, _, port = observer.report.gateway.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return reader, writer


async def test_the_report_says_what_runs_where_and_what_to_know(
    start: Any, observer: Observer, stop: Stop
) -> None:
    task = await start()
    report = observer.report
    assert report is not None
    assert [each.name for each in report.services] == ["shop", "plain", "crates"]
    assert all(
        each.url.startswith("http://127.0.0.1:") and each.health == "healthy" for each in report.services
    )
    assert report.services[0].seconds > 0
    assert report.reload is False
    assert any("power cut" in sentence for sentence in report.not_guaranteed)
    stop.ask()
    await task
    assert observer.was_stopping


async def test_one_that_is_asked_to_stop_while_it_starts_says_so(
    start: Any, observer: Observer, stop: Stop
) -> None:
    stop.ask()
    await (await start())
    assert observer.was_stopping
    assert observer.report is None


async def test_a_request_that_outlives_the_grace_is_cut_off_and_said(
    start: Any,
    services: Any,
    observer: Observer,
    stop: Stop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(single, "GRACE", 0.01)
    begun = asyncio.Event()

    async def stuck(request: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    services["plain"].app = Starlette(routes=[Route("/plain", stuck)])
    task = await start()
    _, writer = await connect(observer, "/plain")
    await begun.wait()
    stop.ask()
    async with asyncio.timeout(LIMIT):
        await task
    assert "1 connections were cut off after 0.01 s" in caplog.text
    writer.close()


async def test_a_kept_connection_may_be_used_once_more_when_it_stops(
    start: Any, observer: Observer, stop: Stop
) -> None:
    task = await start()
    async with asyncio.timeout(LIMIT):
        reader, writer = await connect(observer, "/health")
        assert b"connection: close" not in (await reader.readuntil(b"\r\n\r\n")).lower()
        stop.ask()
        await observer.is_stopping.wait()
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        rest = await reader.read()
        await task
    assert b"HTTP/1.1 200" in rest
    assert b"connection: close" in rest.lower()
    writer.close()


async def test_a_shutdown_that_hangs_is_cut_off_by_a_second_request_to_stop(
    start: Any, services: Any, stop: Stop
) -> None:
    ending = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        ending.set()
        await asyncio.Event().wait()

    services["plain"].app = app
    task = await start()
    stop.ask()
    async with asyncio.timeout(LIMIT):
        await ending.wait()
        stop.ask()
        await task


async def test_services_that_do_not_end_are_said_and_left(
    start: Any, stop: Stop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(single, "_HURRY", 0.01)
    task = await start()
    end, stuck = Instance.stop, asyncio.Event()

    async def hang(self: Any, grace: float = 0.0) -> None:
        await end(self, grace)
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Instance, "stop", hang)
    stop.ask()
    async with asyncio.timeout(LIMIT):
        await stuck.wait()
        stop.ask()
        await task
    assert "the services did not end within 0.01 s" in caplog.text


async def test_a_second_request_to_stop_does_not_wait_for_what_a_reload_left(
    build: Any,
    state: StateFolder,
    observer: Observer,
    stop: Stop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Reloader:
        async def close(self) -> None:
            closing.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(single, "_HURRY", 0.01)
    closing = asyncio.Event()
    runner = SingleRunner(build(), RunnerOptions(folder=state, observer=observer, stop=stop, began=0.0))
    runner._reloader = Reloader()  # type: ignore[assignment] # with an old instance whose shutdown hangs
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(LIMIT):
        await observer.is_ready.wait()
        stop.ask()
        await closing.wait()
        stop.ask()
        await running
    assert "the services did not end within 0.01 s" in caplog.text


async def test_what_keeps_it_from_starting_is_raised_when_all_is_closed(
    start: Any, services: Any, build: Any, state: StateFolder
) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no mail server"})

    services["plain"].app = refuse
    task = await start()
    with pytest.raises(Exception, match="plain: its app refused to start: no mail server"):
        await task
    again = build()
    await again.open()
    await again.close()


async def test_a_supervised_part_that_fails_is_started_again(
    start: Any, observer: Observer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = asyncio.Event()

    async def fail(self: Any) -> None:
        failed.set()
        raise OSError("the disk is full")

    monkeypatch.setattr("micro.telemetry.access.AccessLog.run", fail)
    await start()
    async with asyncio.timeout(LIMIT):
        await failed.wait()
    reader, writer = await connect(observer, "/health")
    assert b" 200 " in await reader.readline()
    assert "access log failed and starts again" in caplog.text
    writer.close()


async def test_its_verbs_reach_the_reloader_and_the_settings(
    start: Any, state: StateFolder, observer: Observer, folder: Any
) -> None:
    from micro.runtime.state import read_run

    await start(reload=True)
    record = read_run(folder / ".micro")
    assert record is not None
    reader, writer = await asyncio.open_unix_connection(record.socket)
    async with asyncio.timeout(LIMIT):
        writer.write(b'{"verb": "routes.reload", "args": {}}\n')
        assert await reader.readline() == b'{"end":{"changed":false,"notes":[]}}\n'
        writer.write(b'{"verb": "reload", "args": {"service": "nobody"}}\n')
        assert b"no service 'nobody'" in await reader.readline()
    writer.close()


async def test_an_unready_gateway_is_never_seen(start: Any, build: Any, observer: Observer) -> None:
    """Connections wait from the bind on, and the first answer finds every verdict made."""
    await start()
    reader, writer = await connect(observer, "/health")
    async with asyncio.timeout(LIMIT):
        assert b" 200 " in await reader.readline()
    writer.close()
    assert (await ask(build().gateway, "GET", "/health", headers=[(b"host", b"localhost")])).status == 503
