"""A program is started again whenever it ends, later each time while it keeps failing."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import MicroError
from micro.runtime.programs.process import Launch
from micro.runtime.programs.program import Program, described
from micro.runtime.supervise import STABLE
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 60.0


class Bench:
    """One program at a time: a shell script, on a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.told: list[str] = []
        self.news = asyncio.Event()
        self.running: asyncio.Task[None] | None = None

    async def start(self, script: str, *, grace: float = LIMIT) -> Program:
        launch = Launch(
            command=("/bin/sh", "-c", script), env=dict(os.environ), folder=self.folder, grace=grace
        )
        self.program = Program("sms", launch, clock=self.clock, tell=self._tell)
        await self.program.start()
        self.running = asyncio.create_task(self.program.run())
        return self.program

    def _tell(self, what: str, pid: int) -> None:
        assert pid > 0
        self.told.append(what)
        self.news.set()

    async def until_waiting(self) -> None:
        """It has ended, and waits to be started again."""
        async with asyncio.timeout(LIMIT):
            await self.clock.until_sleeping()

    async def until_restarted(self) -> None:
        """Let the wait pass, which is half a minute at most, and see it started."""
        before = len(self.told)
        await self.clock.advance(30.0)
        async with asyncio.timeout(LIMIT):
            while len(self.told) == before:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.program.kill()
    if made.running is not None:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)


async def test_one_that_ends_is_started_again_and_the_reason_is_said(bench: Bench, caplog: Any) -> None:
    program = await bench.start("echo out of paper; exit 3")
    await bench.until_waiting()
    assert program.pid is None
    assert program.restarts == 0
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "micro.service.sms"
    assert record.getMessage().startswith("sms ended with code 3: out of paper; it starts again in 0.")
    await bench.until_restarted()
    await bench.until_waiting()
    assert program.restarts == 1
    assert bench.told == ["started", "stopped"] * 2


async def test_its_lines_are_records_of_the_service(bench: Bench, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    await bench.start("echo one; echo two >&2")
    await bench.until_waiting()
    lines = [(record.name, record.levelname, record.getMessage()) for record in caplog.records[:2]]
    assert lines == [("micro.service.sms", "INFO", "one"), ("micro.service.sms", "INFO", "two")]


async def test_three_ends_in_a_row_are_a_crash_loop_and_the_waits_grow(bench: Bench, caplog: Any) -> None:
    program = await bench.start("exit 1")
    for number in range(3):
        await bench.until_waiting()
        assert program.loops is (number == 2)
        if number < 2:
            await bench.until_restarted()
    waits = [float(record.getMessage().split()[-2]) for record in caplog.records]
    assert waits[0] <= 0.5
    assert waits[1] <= 1.0
    assert 1.0 <= waits[2] <= 2.0


async def test_a_crash_loop_is_over_once_it_runs_stably(bench: Bench, witness: Any) -> None:
    count = bench.folder / "count"
    program = await bench.start(
        f"echo x >> {count}; [ $(wc -l < {count}) -lt 4 ] && exit 1; exec 9> {witness.path}; echo here >&9; exec sleep 60"
    )
    for _ in range(3):
        await bench.until_waiting()
        await bench.until_restarted()
    await asyncio.to_thread(witness.line)
    assert program.loops, "not yet"
    await bench.clock.advance(STABLE)
    assert not program.loops
    assert program.restarts == 3


async def test_after_a_stable_run_an_end_counts_as_the_first(bench: Bench, witness: Any) -> None:
    os.mkfifo(bench.folder / "go")
    program = await bench.start(f"exec 9> {witness.path}; echo here >&9; read x < go; exit 1")
    hold = os.open(witness.path, os.O_WRONLY)  # so that the pipe outlives each run
    for _ in range(4):
        await asyncio.to_thread(witness.line)
        await bench.clock.advance(STABLE)
        await asyncio.to_thread((bench.folder / "go").write_text, "go\n")
        await bench.until_waiting()
        assert not program.loops
        await bench.until_restarted()
    os.close(hold)


async def test_one_that_is_stopped_stays_so(bench: Bench, witness: Any) -> None:
    program = await bench.start(f"exec 9> {witness.path}; echo here >&9; exec sleep 60")
    await asyncio.to_thread(witness.line)
    assert program.pid
    async with asyncio.timeout(LIMIT):
        await program.stop()
        assert bench.running is not None
        await bench.running
    assert program.pid is None
    assert bench.told == ["started", "stopped"]
    await program.stop()
    assert await program.ended() == "does not run"


async def test_one_that_waits_to_be_started_again_is_not_when_it_was_stopped(bench: Bench) -> None:
    program = await bench.start("exit 1")
    await bench.until_waiting()
    await program.stop()
    await bench.clock.advance(30.0)
    assert bench.running is not None
    await bench.running
    assert program.restarts == 0


async def test_one_that_has_to_be_killed_is_said(bench: Bench, witness: Any, caplog: Any) -> None:
    program = await bench.start(
        f"trap '' TERM; exec 9> {witness.path}; echo here >&9; while :; do sleep 0.05; done", grace=0.05
    )
    await asyncio.to_thread(witness.line)
    async with asyncio.timeout(LIMIT):
        await program.stop()
    assert "sms did not end in time and was killed" in caplog.messages


async def test_a_restart_that_the_system_refuses_is_an_end_like_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    program = await bench.start("exit 1")
    await bench.until_waiting()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        await bench.clock.advance(0.5)
        await bench.until_waiting()
    assert any(message.startswith("can't run /bin/sh") for message in caplog.messages)
    assert caplog.messages[-1].startswith("sms does not run; it starts again in")
    await bench.until_restarted()
    assert program.restarts == 2


async def test_a_first_start_that_the_system_refuses_is_raised(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(MicroError, match="can't run"):
        await bench.start("true")
    assert bench.program.pid is None
    assert bench.told == []


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "with code 0"), (127, "with code 127"), (137, "by SIGKILL"), (255, "with code 255")],
)
def test_an_exit_code_is_told_in_words(code: int, text: str) -> None:
    assert described(code) == text


async def test_a_restart_starts_it_again_at_once_and_is_no_failure(bench: Bench, caplog: Any) -> None:
    program = await bench.start("trap 'exit 7' TERM; while :; do sleep 0.01; done")
    first = program.pid
    async with asyncio.timeout(LIMIT):
        await program.restart()
        while bench.told != ["started", "stopped", "started"]:
            bench.news.clear()
            await bench.news.wait()
    assert program.pid not in {first, None}
    assert program.restarts == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_restart_of_one_that_waits_to_start_changes_nothing(bench: Bench) -> None:
    program = await bench.start("exit 3")
    await bench.until_waiting()
    await program.restart()
    assert program.pid is None
