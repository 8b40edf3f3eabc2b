"""One child: a real process with a script in it, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from micro.clock import SystemClock
from micro.errors import CallError, ConfigurationError, MicroError, UsageError
from micro.runtime.multi import children as module
from micro.runtime.multi.children import CRASH_LOOP, SETTLED, Child
from micro.runtime.multi.conversation import Conversation
from micro.runtime.multi.household import Household, together
from micro.runtime.parts.description import Description
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60.0
SCRIPT = Path(__file__).with_name("scripted_child.py")


class Home:
    """Makes children, and hears what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.news: list[str] = []
        self.shown: list[str] = []
        self.children: list[Child] = []
        self.lock: int | None = None
        self._changed = asyncio.Event()
        self.mode("fine")

    def mode(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    def child(self, number: int = 1, *, public: socket.socket | None = None) -> Child:
        description = Description(
            role="service",
            service="shop",
            number=number,
            directory=str(self.folder),
            profile="prod",
            store="",
            bus="",
            cache="",
            logs="",
        )
        house = Household(
            clock=self.clock,
            folder=self.folder,
            env=dict(os.environ),
            changed=self._hear,
            start=lambda: {"peers": {}, "facts": {}},
            show=self.shown.append,
            lock=self.lock,
            command=(sys.executable, "-S", str(SCRIPT)),
        )
        self.children.append(Child(description, house, public=public))
        return self.children[-1]

    async def started(self, **options: Any) -> Child:
        child = self.child(**options)
        async with asyncio.timeout(LIMIT):
            await child.start()
        return child

    async def until(self, *news: str) -> None:
        """Wait until the latest that was heard is this."""
        async with asyncio.timeout(LIMIT):
            while tuple(self.news[-len(news) :]) != news:
                self._changed.clear()
                await self._changed.wait()

    def _hear(self, child: Child, what: str) -> None:
        self.news.append(what)
        self._changed.set()


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    made = Home(tmp_path)
    yield made
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(child.kill() for child in made.children))


async def seen(condition: Any) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await SystemClock().sleep(0.005)


async def test_it_tells_of_its_code_then_starts_then_is_ready(home: Home) -> None:
    child = home.child(number=2)
    assert (child.name, child.state, child.pid, child.url) == ("shop-2", "starting", None, None)
    await child.spawn()
    assert child.facts["port"] == 2
    assert child.pid is not None
    assert not child.listens
    assert child.state == "starting"
    await child.begin()
    assert (child.state, child.url, child.seconds) == ("healthy", "http://127.0.0.1:1002", 0.5)
    assert child.listens
    assert home.news == ["spawned", "started"]
    await child.stop()
    assert (child.state, child.pid, child.url) == ("stopping", None, None)
    assert home.news == ["spawned", "started", "stopped"]
    await child.stop()


async def test_it_has_no_open_file_but_those_that_it_is_given(home: Home) -> None:
    with socket.socket() as public, socket.socket() as other:
        home.lock = os.open(home.folder / "lock", os.O_CREAT | os.O_RDWR)
        try:
            child = await home.started(public=public)
            given = {public.fileno(), home.lock}
            fds = set(child.facts["fds"])
            assert fds >= given
            assert other.fileno() not in fds
            assert len(fds - given - {0, 1, 2}) <= 3, "its life line, its mode, and the listing itself"
        finally:
            os.close(home.lock)


async def test_lines_are_the_services_log_but_those_that_are_logged_already(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await home.started()
    await seen(lambda: "told" in caplog.text)
    (record,) = [each for each in caplog.records if "told" in each.getMessage()]
    assert record.getMessage() == "told ['facts', 'peers', 'public']"
    assert record.name == "micro.service.shop"
    assert home.shown == ["already logged"]
    assert "already logged" not in caplog.text


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("refuses", "shop-1 won't"),
        ("dies", "shop-1 ended with code 3: last words"),
        ("babbles", "it said something else than expected"),
        ("refuses to start", "no database"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(home: Home, mode: str, reason: str) -> None:
    home.mode(mode)
    child = home.child()
    with pytest.raises(ConfigurationError, match=f"^{reason}$"):
        await child.start()
    assert child.pid is None
    assert "started" not in home.news


async def test_one_that_loads_for_ever_is_ended(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_LIMIT", 0.3)
    home.mode("loads")
    child = home.child()
    with pytest.raises(ConfigurationError, match=r"shop-1 took longer than 0.3 s to load its code"):
        await child.start()
    assert child.pid is None


async def test_one_that_is_killed_starts_again_after_a_short_while(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    child = await home.started()
    first = child.pid
    assert first is not None
    running = asyncio.create_task(child.run())
    os.kill(first, signal.SIGKILL)
    await home.until("stopped")
    assert (child.state, child.url) == ("unhealthy", None)
    await home.clock.advance(0.5)
    await home.until("spawned", "started")
    assert child.restarts == 1
    assert child.pid != first
    assert child.last_pid == child.pid
    assert "shop-1 ended by SIGKILL" in caplog.text
    await child.stop()
    await running


async def test_ends_in_a_row_are_a_crash_loop_and_a_run_that_settles_ends_the_row(home: Home) -> None:
    child = await home.started()
    running = asyncio.create_task(child.run())
    home.mode("dies")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    await home.until("stopped")
    for _ in range(2):
        count = home.news.count("spawned")
        await home.clock.advance(30)
        await seen(lambda count=count: home.news.count("spawned") > count and child.pid is None)
    assert child.state == CRASH_LOOP
    home.mode("fine")
    await seen(lambda: home.clock._sleepers)
    await home.clock.advance(30)
    await home.until("started")
    await home.clock.advance(SETTLED)
    before = child.restarts
    os.kill(child.pid, signal.SIGKILL)
    await home.until("stopped", "spawned", "started")
    assert child.restarts == before + 1, "at once"
    await child.kill()
    await running


async def test_its_health_is_asked_for_and_each_change_told(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    child = await home.started()
    (home.folder / "health").write_text("unhealthy")
    await seen(lambda: home.clock._sleepers)
    await home.clock.advance(2.0)
    await home.until("unhealthy")
    assert child.state == "unhealthy"
    assert child.report["reason"] == "feels bad"
    assert "shop-1 is unhealthy: feels bad" in caplog.text
    assert child.url is not None, "whether it gets requests is for those to judge who send them"
    (home.folder / "health").unlink()
    await seen(lambda: home.clock._sleepers)
    await home.clock.advance(2.0)
    await home.until("healthy")


async def test_one_that_does_not_say_how_it_is_is_not_well(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await home.started()
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    assert child.pid is not None

    async def silent(*args: Any, **options: Any) -> dict[str, Any]:
        raise CallError("health: no answer within 5 s")

    monkeypatch.setattr(child, "ask", silent)
    await seen(lambda: home.clock._sleepers)
    await home.clock.advance(2.0)
    await home.until("unhealthy")


async def test_it_can_be_asked_while_it_runs(home: Home) -> None:
    child = home.child()
    with pytest.raises(CallError, match="shop-1 does not run"):
        await child.ask("stats")
    await child.start()
    with pytest.raises(UsageError, match="stats: never heard of"):
        await child.ask("stats")
    with pytest.raises(CallError, match="the process is gone"):
        await child.ask("die")


async def test_one_that_heeds_no_signal_is_killed_when_the_grace_is_over(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "KILL_AFTER", 0.1)
    home.mode("deaf")
    child = await home.started()
    async with asyncio.timeout(LIMIT):
        await child.stop()
    assert "shop-1 did not end within 0.1 s and was killed" in caplog.messages


async def test_it_connects_to_its_servers_before_it_is_told_to_start(home: Home) -> None:
    child = home.child()
    await child.spawn()
    await child.open({"user": {"routes": []}})
    assert child.url is None
    await child.begin()
    assert child.seconds >= 0.5, "of both"


@pytest.mark.parametrize(
    ("mode", "limit", "reason"),
    [
        ("dies opening", LIMIT, "shop-1 ended with code 3: last words"),
        ("opens for ever", 0.3, "shop-1: open: no answer within 0.3 s"),
    ],
)
async def test_one_that_does_not_answer_before_it_starts_is_ended_and_the_reason_told(
    home: Home, mode: str, limit: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = home.child()
    home.mode(mode)
    await child.spawn()
    monkeypatch.setattr(module, "START_LIMIT", limit)
    with pytest.raises(ConfigurationError, match=f"^{reason}$"):
        await child.open({})


async def test_one_that_is_stopped_while_it_is_being_run_is_found_and_ended(home: Home) -> None:
    """A restart, and `down` in the same moment."""
    child = home.child()
    starting = asyncio.create_task(child.start())
    await seen(lambda: child._talk is not None)
    async with asyncio.timeout(LIMIT):
        await child.stop()
    with pytest.raises(ConfigurationError):
        await starting
    assert child.pid is None
    assert "started" not in home.news


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_one_that_is_ended_before_its_process_is_there_is_found_and_ended(
    home: Home, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    opening = Conversation.open

    async def open_and_end(talk: Conversation) -> None:
        await opening(talk)
        await getattr(child, how)()

    monkeypatch.setattr(Conversation, "open", open_and_end)
    child = home.child()
    async with asyncio.timeout(LIMIT):
        for _ in range(2):  # nor does it begin anew
            with pytest.raises(ConfigurationError):
                await child.spawn()
    assert child.pid is None


async def test_one_that_somebody_kills_while_it_ends_did_not_take_too_long(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.mode("deaf")
    child = await home.started()
    assert child.pid is not None
    ending = asyncio.create_task(child.stop())
    await seen(lambda: child.state == "stopping")
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(LIMIT):
        await ending
    assert [said for said in caplog.messages if "killed" in said] == [
        "shop-1 was killed by somebody while it finished its work"
    ]


async def test_one_that_hangs_is_killed_and_started_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    child = await home.started()
    first = child.pid
    assert first is not None
    running = asyncio.create_task(child.run())
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr(module, "_PATIENCE", 0.02)

    async def silent(*args: Any, **options: Any) -> dict[str, Any]:
        raise CallError("health: no answer within 5 s")

    monkeypatch.setattr(child, "ask", silent)
    while "hangs" not in caplog.text:
        assert psutil.pid_exists(first)
        await seen(lambda: home.clock._sleepers)
        await home.clock.advance(2.0)
    await seen(lambda: home.news.count("started") == 2)
    assert "shop-1 hangs: it has not answered 6 times" in caplog.text
    assert child.pid != first
    await child.stop()
    await running


async def test_where_there_is_no_room_for_a_socket_it_is_tried_again_later(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    child = await home.started()
    running = asyncio.create_task(child.run())

    def full() -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", full)
        os.kill(child.pid or 0, signal.SIGKILL)
        await home.until("stopped")
        await home.clock.advance(0.5)
        await seen(lambda: "can't run shop-1: Too many open files" in caplog.text)
    await home.clock.advance(30)
    await home.until("spawned", "started")
    await child.stop()
    await running


async def test_a_system_that_refuses_is_an_error_and_leaves_no_socket(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = psutil.Process().num_fds()
    with pytest.raises(MicroError, match="can't run"):
        await home.child().spawn()
    await seen(lambda: psutil.Process().num_fds() <= before)


async def test_one_that_is_to_be_stopped_gets_no_more_traffic(home: Home) -> None:
    child = await home.started()
    child.withdrawn = True
    assert (child.url, child.state, child.listens) == (None, "stopping", True)


async def test_the_first_error_of_several_works_cancels_the_others() -> None:
    cancelled = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fails() -> None:
        raise MicroError("no")

    with pytest.raises(MicroError, match="no"):
        await together([long(), fails()])
    assert cancelled.is_set()
    await together([])
