"""The fork server of a supervisor: real processes, forked and executed, and whichever of them is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from micro.clock import SystemClock
from micro.profile import Profile
from micro.runtime.multi import forks as module
from micro.runtime.multi.forks import PROGRAM, Forks
from micro.runtime.programs import process as process_module
from micro.runtime.programs.output import Output
from micro.runtime.programs.process import Launch, Process
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60.0
pytestmark = pytest.mark.skipif(not module.LINUX, reason="elsewhere, processes are executed")


class Bench:
    """Runs workers that wait for their description; each ends with its life line, which `lines` has the other end of."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self.forks = forks
        self.folder = folder
        self.lines: list[socket.socket] = []
        self.said: list[str] = []
        self.processes: list[Process] = []

    def launch(self, *more: socket.socket) -> Process:
        ours, theirs = socket.socketpair()
        self.lines += [ours, theirs]
        launch = Launch(
            command=(*PROGRAM, str(theirs.fileno()), f"shop-{len(self.processes) + 1}"),
            env=self.forks.env,
            folder=self.folder,
            grace=LIMIT,
            fds=(theirs.fileno(), *(each.fileno() for each in more)),
        )
        self.processes.append(
            Process(launch, Output(self.said.append, clock=SystemClock()), forks=self.forks)
        )
        return self.processes[-1]

    async def start(self, *more: socket.socket) -> Process:
        process = self.launch(*more)
        async with asyncio.timeout(LIMIT):
            await process.start()
        self.lines[-1].close()
        return process

    async def close(self) -> None:
        for line in self.lines:
            line.close()
        for process in self.processes:
            process.kill()
            await code(process)


async def code(process: Process) -> int:
    async with asyncio.timeout(LIMIT):
        return await process.ended()


async def seen(condition: Any) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await SystemClock().sleep(0.005)


def is_forked(process: Process) -> bool:
    return "micro.runtime.multi.forkserver" in psutil.Process(process.pid).cmdline()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with Forks([], env={**os.environ, "PYTHONUNBUFFERED": "1"}, folder=tmp_path) as forks:
        made = Bench(tmp_path, forks)
        yield made
        await made.close()


async def test_what_it_forks_leads_a_group_of_its_own_and_ends_as_what_is_executed_does(bench: Bench) -> None:
    process = await bench.start()
    found = psutil.Process(process.pid)
    assert is_forked(process)
    assert os.getpgid(process.pid) == process.pid
    assert os.getsid(process.pid) == found.ppid(), "with its launcher, and nobody else"
    assert psutil.Process(found.ppid()).ppid() == bench.forks.pid
    await seen(lambda: found.name() == "shop-1")  # in lists of processes
    assert found.cwd() == str(bench.folder)
    bench.lines[0].close()
    assert await code(process) == 0


async def test_its_signals_are_those_of_a_new_process(bench: Bench) -> None:
    first, second = await bench.start(), await bench.start()
    first.stop()
    assert await code(first) in {0, 128 + signal.SIGTERM}, "whether or not it had come to take signals itself"
    second.kill()
    assert await code(second) == 128 + signal.SIGKILL


async def test_it_has_the_files_that_it_is_given_under_their_numbers_and_no_others(bench: Bench) -> None:
    def files(pid: int) -> dict[int, str]:
        found = {}
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # the one that lists them
                found[int(link.name)] = str(link.readlink())
        return found

    with socket.socket() as given, socket.socket() as other:
        process = await bench.start(given)
        ours = files(os.getpid())
        await seen(lambda: files(process.pid).get(given.fileno()) == ours[given.fileno()])
        theirs = files(process.pid)
        assert ours[other.fileno()] not in theirs.values()
        launcher = files(psutil.Process(process.pid).ppid())
        assert ours[given.fileno()] not in launcher.values(), "a port is free when the program has ended"
        assert ours[given.fileno()] not in files(bench.forks.pid or 0).values()


async def test_what_ends_is_no_zombie_and_leaves_nothing_in_the_fork_server(bench: Bench) -> None:
    server = psutil.Process(bench.forks.pid)
    await bench.start()
    before = server.num_fds()
    processes = [await bench.start() for _ in range(3)]
    for process in processes:
        process.kill()
        await code(process)
    await seen(lambda: len(server.children()) == 1)
    assert server.num_fds() == before


async def test_the_fork_server_is_fit_to_be_forked(tmp_path: Path) -> None:
    profile = Profile(name="prod", runner="multi", store="postgresql:", bus="kafka:", cache="redis:")
    forks = Forks.of(profile)
    assert "micro.store.postgres" in forks._modules
    assert "micro.discovery.redis" in forks._modules
    with forks:
        bench = Bench(tmp_path, forks)
        try:
            await bench.start()  # so it has imported everything
            assert psutil.Process(forks.pid).num_threads() == 1
        finally:
            await bench.close()


async def test_when_the_fork_server_is_killed_its_programs_run_on_and_the_next_is_executed(
    bench: Bench,
) -> None:
    before = await bench.start()
    assert bench.forks.pid is not None
    os.kill(bench.forks.pid, signal.SIGKILL)
    after = await bench.start()
    assert not is_forked(after)
    assert psutil.pid_exists(before.pid)
    bench.lines[0].close()
    assert await code(before) == 0, "its exit code is known all the same"


async def test_a_fork_server_that_has_ended_is_started_again(bench: Bench, caplog: Any) -> None:
    clock = FakeClock()
    first = bench.forks.pid
    running = asyncio.create_task(bench.forks.run(clock))
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await seen(lambda: clock._sleepers)
    assert not psutil.pid_exists(first), "it was reaped"
    await clock.advance(0.5)
    await seen(lambda: bench.forks.pid is not None)
    assert "the fork server ended" in caplog.text
    assert is_forked(await bench.start())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_a_stuck_fork_server_does_not_do_is_executed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_FORKED", 0.1)
    server = psutil.Process(bench.forks.pid)
    server.suspend()
    process = await bench.start()
    assert not is_forked(process)
    await seen(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


async def test_what_was_ordered_to_end_before_it_was_forked_ends(bench: Bench) -> None:
    process = bench.launch()
    starting = asyncio.create_task(process.start())
    await SystemClock().sleep(0)
    process.kill()
    async with asyncio.timeout(LIMIT):
        await starting
    assert await code(process) == 128 + signal.SIGKILL


async def test_other_programs_are_executed(bench: Bench) -> None:
    launch = Launch(command=("/bin/sh", "-c", "exit 3"), env={}, folder=bench.folder, grace=1.0)
    process = Process(launch, Output(print, clock=SystemClock()), forks=bench.forks)
    await process.start()
    assert await code(process) == 3


async def test_one_that_can_not_be_run_or_is_no_linuxs_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(module, "_SERVER", ("/no/such/python",))
    with Forks([], env={}, folder=tmp_path) as forks:
        assert forks.pid is None
    assert "can't run a fork server" in caplog.text
    monkeypatch.setattr(module, "LINUX", False)
    with Forks([], env={**os.environ}, folder=tmp_path) as forks:
        assert forks.pid is None
        await forks.run(FakeClock())
        bench = Bench(tmp_path, forks)
        assert not is_forked(await bench.start())
        await bench.close()


async def test_at_the_end_none_is_left(tmp_path: Path) -> None:
    forks = Forks([], env={**os.environ}, folder=tmp_path)
    forks.start()
    first = forks.pid
    forks.start()
    assert forks.pid == first, "one is enough"
    forks.kill()
    forks.close()
    forks.close()
    forks.kill()
    with suppress(psutil.NoSuchProcess):
        assert not psutil.Process(first).is_running()
