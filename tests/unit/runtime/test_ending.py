"""What does not end is named and left behind; what does is waited for."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from micro.clock import SystemClock
from micro.runtime import ending
from micro.runtime.ending import cancelled, leave, place, run, still_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LIMIT = 60.0
WARNING = "left behind, as they don't end: "


class Exited(BaseException):
    """Stands in for the end of the process."""


class Deaf:
    """A task that swallows its cancellations until it is released."""

    def __init__(self) -> None:
        self._released = False
        self.begun = asyncio.Event()
        self.heard = 0

    async def __call__(self) -> None:
        self.begun.set()
        while not self._released:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.heard += 1

    def release(self, task: asyncio.Task[None]) -> None:
        self._released = True
        task.cancel()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process has left behind; and its end is an exception."""

    def end(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(ending, "_left", names := [])
    monkeypatch.setattr(ending, "_LAST", 0.05)
    monkeypatch.setattr("os._exit", end)
    return names


@pytest.fixture
def stuck() -> Iterator[threading.Thread]:
    """A thread that ends when the test does."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="stuck")
    yield thread
    release.set()
    if thread.ident is not None:
        thread.join(LIMIT)


def close(tasks: dict[asyncio.Task[None], Deaf]) -> None:
    """End tasks that were left behind, and their loop."""
    loop = next(iter(tasks)).get_loop()
    for task, deaf in tasks.items():
        deaf.release(task)
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


def test_a_thread_that_ends_in_time_is_waited_for_and_one_that_does_not_is_named() -> None:
    before, release, soon = threading.enumerate(), threading.Event(), threading.Event()
    stuck = threading.Thread(target=release.wait, name="stuck")
    ending = threading.Thread(target=soon.wait, args=(LIMIT,), name="ending")
    background = threading.Thread(target=release.wait, name="background", daemon=True)
    for thread in (ending, stuck, background):
        thread.start()
    soon.set()
    assert still_running(before, limit=1.0, clock=SystemClock()) == ["stuck"]
    assert not ending.is_alive()
    release.set()
    assert still_running(before, limit=LIMIT, clock=SystemClock()) == []


async def test_a_task_that_swallows_its_cancellation_is_told_from_those_that_end() -> None:
    deaf = Deaf()
    task, other = asyncio.create_task(deaf()), asyncio.create_task(asyncio.Event().wait())
    await deaf.begun.wait()
    assert await cancelled({task, other}, limit=0.05) == {task}
    assert (deaf.heard, other.cancelled()) == (1, True)
    assert "test_ending.py:" in place(task)
    deaf.release(task)
    assert await cancelled({task}, limit=LIMIT) == set()
    assert await cancelled([], limit=LIMIT) == set()


async def test_a_task_that_fails_when_it_is_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def fails() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise OSError("no such account")

    task = asyncio.create_task(fails(), name="mail")
    await begun.wait()
    assert await cancelled({task}, limit=LIMIT) == set()
    assert "mail failed when it was cancelled" in caplog.text
    assert "no such account" in caplog.text


def test_a_program_that_leaves_nothing_ends_as_usual(
    left: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ending, "_LAST", 60.0)
    finished = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            finished.append("generator")

    async def forgotten() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            finished.append("task")

    async def main() -> tuple[int, Any]:
        task = asyncio.create_task(forgotten())
        begun = numbers()
        first = await anext(begun)
        await asyncio.to_thread(finished.append, "thread")
        return first, (task, begun)

    number, kept = run(main, clock=SystemClock())
    leave(3)
    assert (number, finished, left) == (1, ["thread", "task", "generator"], [])
    assert kept[0].get_loop().is_closed()
    assert not caplog.records


def test_tasks_that_do_not_end_are_named_and_left_behind(
    left: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tasks: dict[asyncio.Task[None], Deaf] = {}

    async def main() -> None:
        for number in range(7):
            deaf = Deaf()
            tasks[asyncio.create_task(deaf(), name=f"deaf {number}")] = deaf
            await deaf.begun.wait()

    run(main, clock=SystemClock())
    (record,) = caplog.records
    assert record.message.startswith(f"{WARNING}deaf 0 ({__file__}:")
    assert record.message.endswith(") and 2 more")
    assert len(left) == 7
    with pytest.raises(Exited) as exited:
        leave(3)
    assert exited.value.args == (3,)
    close(tasks)


def test_a_thread_that_does_not_end_hides_no_failure(
    left: list[str], stuck: threading.Thread, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it keep the process: what failed is told, and that is the end."""

    async def main() -> None:
        stuck.start()
        loops.append(asyncio.get_running_loop())
        raise OSError("no mail server")

    loops: list[Any] = []
    with pytest.raises(OSError, match="no mail server"):
        run(main, clock=SystemClock())
    assert left == ["stuck"]
    assert [record.message for record in caplog.records] == [f"{WARNING}stuck"]
    loops[0].close()


def test_output_that_nobody_reads_does_not_keep_it_from_leaving(
    left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def flush(self) -> None:
            raise BrokenPipeError

    left.append("stuck")
    monkeypatch.setattr("sys.stdout", Broken())
    with pytest.raises(Exited):
        leave(0)
