"""A child's life: described, built, started, drained; whatever goes wrong, its supervisor is told."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from micro.clock import SystemClock
from micro.errors import ConfigurationError, MicroError
from micro.runtime.multi import worker as module
from micro.runtime.multi.lifeline import LifeLine
from micro.runtime.multi.worker import Worker, WorkerStop
from micro.telemetry.logs import current_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from micro.runtime.parts.description import Description

LIMIT = 60.0


class ScriptedPart:
    """What the description's build function gives; the last one is in `made`."""

    made: list[ScriptedPart] = []  # noqa: RUF012 # emptied by the fixture
    refuses: str = ""

    def __init__(self, description: Description) -> None:
        self.facts = {"port": 8010, "routes": ["/shop"]}
        self.verbs: dict[str, Any] = {"stats": self._stats}
        self.notes: list[str] = ["build"]
        self.description = description
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.ends = asyncio.Event()
        self.started: Any = None
        self.made.append(self)
        self._do("build")

    async def start(self, start: Any) -> None:
        self.started = start
        self._do("start")

    async def run(self) -> None:
        await self.ends.wait()
        raise MicroError("shop-1 ended with code 3")

    async def drain(self, grace: float) -> None:
        self._do("drain")
        await self.may_end.wait()
        self.notes.append(f"drained {grace:g}")

    async def close(self) -> None:
        self._do("close")
        if self.started is not None:
            self.started.private.close()
            if self.started.public is not None:
                self.started.public.close()
        self.started = None

    async def _stats(self) -> dict[str, Any]:
        return {"requests": 3}

    def _do(self, what: str) -> None:
        if what != "build":
            self.notes.append(what)
        if self.refuses == what:
            raise ConfigurationError(f"can't {what}")
        if self.refuses == f"breaks at {what}":
            raise ValueError(f"broken at {what}")


class World:
    """A worker in this process, and its supervisor's end of the line."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.heard: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.line = LifeLine(ours, hear=lambda *news: self.heard.put_nowait(news))
        self.stop = WorkerStop()
        self.worker = Worker(theirs, self.stop, clock=SystemClock())
        self.folder = folder
        self.running: asyncio.Task[int]

    async def begin(self) -> None:
        await self.line.open()
        self.holding = asyncio.create_task(self.line.run())
        self.running = asyncio.create_task(self.worker.run())

    def describe(self) -> None:
        self.line.say(
            "describe",
            role="service",
            service="shop",
            number=2,
            directory=str(self.folder),
            profile="prod",
            store="s",
            bus="b",
            cache="c",
            logs=str(self.folder),
            grace=4.0,
            build=f"{ScriptedPart.__module__}:ScriptedPart",
        )

    async def told(self) -> tuple[str, dict[str, Any]]:
        async with asyncio.timeout(LIMIT):
            return await self.heard.get()

    async def ready(self, public: int | None = None) -> ScriptedPart:
        self.describe()
        assert await self.told() == ("built", {"facts": {"port": 8010, "routes": ["/shop"]}})
        self.line.say(
            "start", gateway="http://g", urls={}, peers={"user": ["http://u"]}, facts={}, public=public
        )
        what, args = await self.told()
        assert what == "ready"
        assert args["port"] > 0
        return ScriptedPart.made[-1]

    async def code(self) -> int:
        async with asyncio.timeout(LIMIT):
            return await self.running


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What a worker changes for its whole process is put back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    ScriptedPart.made.clear()
    sys.modules.setdefault(ScriptedPart.__module__, sys.modules[__name__])
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    gc.unfreeze()
    current_service.set(None)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "_silence", lambda: None)
    made = World(tmp_path)
    await made.begin()
    yield made
    made.line.close()
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(made.running, made.holding, return_exceptions=True)


async def test_it_lives_from_its_description_to_the_signal(world: World) -> None:
    with socket.socket() as public:
        part = await world.ready(os.dup(public.fileno()))
        assert part.description.instance == "shop-2"
        assert part.started.peers == {"user": ["http://u"]}
        assert not part.started.public.get_inheritable()
        assert part.started.private.getsockname()[0] == "127.0.0.1"
        assert await world.line.ask("stats", timeout=LIMIT) == {"requests": 3}
        health = await world.line.ask("health", timeout=LIMIT)
        assert (health["state"], health["reason"]) == ("healthy", "")
        assert health["memory"] > 1e6
        assert await world.line.ask("peers", timeout=LIMIT, services={}) == {}
        world.stop.ask()
        assert await world.code() == 0
        assert part.notes == ["build", "start", "drain", "drained 4", "close"]


async def test_it_ends_with_what_its_part_says_where_that_cannot_go_on(world: World) -> None:
    part = await world.ready()
    part.ends.set()
    assert await world.told() == ("failed", {"error": "shop-1 ended with code 3"})
    assert await world.code() == 2
    assert part.notes == ["build", "start", "close"]


async def test_its_log_is_a_file_of_its_own(world: World) -> None:
    await world.ready()
    logging.getLogger("anybody").warning("hello")
    text = (world.folder / "shop.2.log").read_text()
    assert '"instance":"shop-2"' in text
    assert '"service":"shop"' in text


async def test_the_end_of_the_line_drains_it_and_the_signal_that_follows_is_no_hurry(world: World) -> None:
    part = await world.ready()
    part.may_end.clear()
    world.line.close()
    async with asyncio.timeout(LIMIT):
        await world.stop.asked.wait()
    world.stop.ask()
    assert not world.stop.hurried.is_set()
    part.may_end.set()
    assert await world.code() == 0
    assert part.notes[-2:] == ["drained 4", "close"]


async def test_a_second_signal_ends_it_without_draining(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = await world.ready()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    part.may_end.clear()
    world.stop.asked.set()
    while "drain" not in part.notes:
        await SystemClock().sleep(0)
    world.stop.hurried.set()
    assert await world.code() == 0
    assert part.notes == ["build", "start", "drain", "close"]


async def test_it_ends_quietly_where_it_is_asked_to_before_it_has_begun(world: World) -> None:
    world.stop.ask()
    assert await world.code() == 0


@pytest.mark.parametrize(
    ("refuses", "code", "text", "notes"),
    [
        ("build", 2, "can't build", ["build"]),
        ("breaks at build", 1, "ValueError: broken at build", ["build"]),
        ("start", 2, "can't start", ["build", "start", "close"]),
        ("breaks at start", 1, "ValueError: broken at start", ["build", "start", "close"]),
    ],
)
async def test_whatever_fails_is_told_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, refuses: str, code: int, text: str, notes: list[str]
) -> None:
    monkeypatch.setattr(ScriptedPart, "refuses", refuses)
    world.describe()
    told = await world.told()
    if told[0] == "built":
        world.line.say("start", gateway="", urls={}, peers={}, facts={}, public=None)
        told = await world.told()
    assert told == ("failed", {"error": text})
    assert await world.code() == code
    assert ScriptedPart.made[-1].notes == notes


async def test_an_end_that_fails_is_logged_and_the_process_ends_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part = await world.ready()
    private = part.started.private
    monkeypatch.setattr(ScriptedPart, "refuses", "breaks at close")
    world.stop.ask()
    assert await world.code() == 0
    assert "its end failed" in caplog.text
    private.close()


async def test_an_end_that_takes_too_long_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_HURRY", 0.01)
    part = await world.ready()
    private = part.started.private

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(part, "close", never)
    world.stop.ask()
    assert await world.code() == 0
    assert "did not end within 0.01 s" in caplog.text
    private.close()


def test_as_a_program_it_ends_with_its_life_line(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    program = subprocess.Popen(
        [sys.executable, "-P", "-m", "micro.runtime.multi.worker", str(theirs.fileno()), "shop-1"],
        cwd=tmp_path,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    ours.close()
    assert program.wait(LIMIT) == 0
