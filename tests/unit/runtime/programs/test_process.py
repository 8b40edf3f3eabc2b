"""A program runs in a group of its own, and nothing of it outlives whoever started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import uvloop

from micro.clock import SystemClock
from micro.errors import MicroError
from micro.runtime.programs import process as module
from micro.runtime.programs.output import Output
from micro.runtime.programs.process import Launch, Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 60.0


class Bench:
    """Starts shell scripts; what they write is in `lines`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.processes: list[Process] = []

    def launch(self, script: str, *, grace: float = LIMIT, **env: str) -> Process:
        launch = Launch(
            command=("/bin/sh", "-c", script),
            env={"PATH": os.environ["PATH"], **env},
            folder=self.folder,
            grace=grace,
        )
        self.processes.append(Process(launch, Output(self.lines.append, clock=SystemClock())))
        return self.processes[-1]

    async def start(self, script: str, **options: Any) -> Process:
        process = self.launch(script, **options)
        async with asyncio.timeout(LIMIT):
            await process.start()
        return process


async def code(process: Process) -> int:
    async with asyncio.timeout(LIMIT):
        return await process.ended()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        if process._watching is not None:
            await code(process)


async def test_its_exit_code_and_both_its_outputs_are_told(bench: Bench) -> None:
    process = await bench.start("echo one; echo two >&2; exit 3")
    assert process.pid > 0
    assert await code(process) == 3
    assert bench.lines == ["one", "two"]
    assert await code(process) == 3, "as often as one asks"


async def test_it_runs_where_and_with_what_it_was_told_and_reads_nothing(bench: Bench) -> None:
    process = await bench.start(
        'pwd; echo "$WORD"; env | grep -c ""; cat; ls /proc/self/fd 2>&1', WORD="hello"
    )
    assert await code(process) == 0
    assert bench.lines[:2] == [str(bench.folder), "hello"]
    assert int(bench.lines[2]) <= 5, "PATH and WORD, and what the shell adds"
    if sys.platform == "linux":
        assert {int(number) for number in bench.lines[3:]} <= {0, 1, 2, 3}, "nothing of ours is open in it"


async def test_the_group_is_asked_to_end_and_may_take_its_time(bench: Bench, witness: Any) -> None:
    script = (
        f"trap 'echo bye; exit 4' TERM; exec 9> {witness.path}; echo here >&9; while :; do sleep 0.01; done"
    )
    process = await bench.start(script)
    await asyncio.to_thread(witness.line)
    process.stop()
    process.stop()
    assert await code(process) == 4
    assert bench.lines[-1] == "bye"
    process.stop()
    process.kill()


async def test_one_that_does_not_end_is_killed_with_all_of_its_group(bench: Bench, witness: Any) -> None:
    stubborn = f"trap '' TERM; exec 9> {witness.path}; echo here >&9; (while :; do sleep 0.05; done) & wait"
    process = await bench.start(stubborn, grace=0.05)
    await asyncio.to_thread(witness.line)
    process.stop()
    assert await code(process) == 128 + signal.SIGKILL
    assert process.overdue
    assert await asyncio.to_thread(witness.ended)


async def test_kill_does_not_wait_for_the_grace(bench: Bench, witness: Any) -> None:
    process = await bench.start(
        f"trap '' TERM; exec 9> {witness.path}; echo here >&9; while :; do sleep 0.05; done"
    )
    await asyncio.to_thread(witness.line)
    process.stop()
    process.kill()
    assert await code(process) == 128 + signal.SIGKILL
    assert not process.overdue


async def test_one_whose_start_is_not_awaited_to_the_end_can_be_killed_too(bench: Bench) -> None:
    process = bench.launch("exec sleep 60")
    starting = asyncio.create_task(process.start())
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time
    starting.cancel()
    process.kill()
    assert await code(process) == 128 + signal.SIGKILL


async def test_nothing_is_left_to_be_reaped(bench: Bench) -> None:
    for _ in range(2):
        await code(await bench.start("sleep 0 & exit 0"))
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


async def test_a_program_that_cannot_be_executed_says_so_in_its_output(bench: Bench) -> None:
    (bench.folder / "text").write_text("no program")
    launch = Launch(command=(str(bench.folder / "text"),), env={}, folder=bench.folder, grace=1.0)
    process = Process(launch, Output(bench.lines.append, clock=SystemClock()))
    await process.start()
    assert await code(process) == 127
    assert bench.lines == [f"can't run {bench.folder / 'text'}: Permission denied"]


async def test_what_the_system_refuses_is_raised_and_leaves_nothing_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = psutil.Process().num_fds()
    with pytest.raises(MicroError, match=r"can't run /bin/sh: .*No such file"):
        await bench.launch("true").start()
    assert psutil.Process().num_fds() == before


async def test_its_end_is_not_held_up_by_one_that_has_left_the_group(
    bench: Bench, witness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a process is out of reach, and holds the pipe of the output."""
    monkeypatch.setattr(module, "_REST", 0.05)
    away = f"import os; os.setsid(); w = open('{witness.path}', 'w'); print(os.getpid(), file=w, flush=True); input()"
    os.mkfifo(bench.folder / "hold")
    os.mkfifo(bench.folder / "go")
    process = await bench.start(f'exec 8<> hold; {sys.executable} -c "$AWAY" <&8 & read x < go', AWAY=away)
    pid = int(await asyncio.to_thread(witness.line))
    process.stop()
    await code(process)
    os.kill(pid, signal.SIGKILL)
    assert await asyncio.to_thread(witness.ended)


async def test_when_somebody_kills_the_launcher_the_program_goes_too(bench: Bench, witness: Any) -> None:
    process = await bench.start(f"exec 9> {witness.path}; echo $PPID >&9; exec sleep 60")
    os.kill(int(await asyncio.to_thread(witness.line)), signal.SIGKILL)
    assert await code(process) == 128 + signal.SIGKILL
    assert await asyncio.to_thread(witness.ended)


async def test_a_launcher_that_is_killed_before_its_program_runs_is_an_end_like_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "launcher.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(module, "_LAUNCHER", str(bench.folder / "launcher.py"))
    process = await bench.start("true")
    assert process.pid == 0
    assert await code(process) == 128 + signal.SIGKILL


OWNER = """
import asyncio, os, sys
from pathlib import Path
import uvloop
from micro.clock import SystemClock
from micro.runtime.programs.output import Output
from micro.runtime.programs.process import Launch, Process

async def main():
    launch = Launch(command=("/bin/sh", "-c", sys.argv[1]), env=dict(os.environ), folder=Path("/"), grace=float(sys.argv[2]))
    await Process(launch, Output(print, clock=SystemClock())).start()
    await asyncio.Event().wait()

uvloop.run(main())
"""


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
@pytest.mark.crash
def test_nothing_outlives_an_owner_that_is_killed(witness: Any, trap: str) -> None:
    """Not even what pays no heed to SIGTERM, and not the program's own children."""
    script = f"{trap} exec 9> {witness.path}; (while :; do sleep 0.05; done) & echo here >&9; wait; wait"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, script, "0.1"])
    witness.line()
    owner.kill()
    assert owner.wait(LIMIT) == -signal.SIGKILL
    assert witness.ended()


def test_it_runs_on_the_loop_of_the_stack_as_well(tmp_path: Path) -> None:
    async def run() -> tuple[int, list[str]]:
        bench = Bench(tmp_path)
        return await code(await bench.start("echo here; exit 6")), bench.lines

    assert uvloop.run(run()) == (6, ["here"])


async def test_a_watch_that_is_cancelled_kills_the_program(bench: Bench, witness: Any) -> None:
    process = await bench.start(f"exec 9> {witness.path}; echo here >&9; exec sleep 60")
    await asyncio.to_thread(witness.line)
    assert process._watching is not None
    process._watching.cancel()
    await asyncio.gather(process._watching, return_exceptions=True)
    assert await asyncio.to_thread(witness.ended)
    process._watching = None
