"""What a killed stack left is waited for, and ended where it does not end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from micro.clock import SystemClock
from micro.errors import StackRunning
from micro.runtime.multi import leftovers as module
from micro.runtime.multi.leftovers import MARK, Lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 60.0


@pytest.fixture
def left(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the file as a child of a killed stack does, and ends when its stdin is closed."""
    lock = Lock(tmp_path, clock=SystemClock())
    asyncio.run(lock.acquire(pytest.fail))
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", MARK],
        stdin=subprocess.PIPE,
        pass_fds=[lock.fd],
        start_new_session=True,
    )
    lock.note([process.pid])
    lock.release()
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.kill()
    process.wait(LIMIT)


async def test_where_nothing_is_left_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    lock = Lock(tmp_path, clock=SystemClock())
    await lock.acquire(pytest.fail)
    assert not os.get_inheritable(lock.fd)
    lock.release()
    lock.release()
    await lock.acquire(pytest.fail)
    lock.release()


async def test_it_waits_for_those_that_end(tmp_path: Path, left: subprocess.Popen[bytes]) -> None:
    notices: list[str] = []

    def notice(text: str) -> None:
        notices.append(text)
        assert left.stdin is not None
        left.stdin.close()

    lock = Lock(tmp_path, clock=SystemClock())
    async with asyncio.timeout(LIMIT):
        await lock.acquire(notice)
    assert notices == ["a killed stack left processes; waiting for them to finish what they have in hand"]
    assert left.wait(LIMIT) == 0, "it was not killed"
    lock.release()


async def test_it_ends_those_that_do_not(
    tmp_path: Path, left: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    lock = Lock(tmp_path, clock=SystemClock())
    async with asyncio.timeout(LIMIT):
        await lock.acquire(lambda text: None)
    assert left.wait(LIMIT) == -9
    lock.release()


async def test_a_number_that_is_another_process_by_now_is_left_alone(
    tmp_path: Path, left: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "_LAST", 0.05)
    (tmp_path / "children").write_text(f"{os.getppid()}\n{2**22 + 1}\n")
    lock = Lock(tmp_path, clock=SystemClock())
    with pytest.raises(StackRunning, match="processes of a killed stack don't end"):
        await lock.acquire(lambda text: None)
    assert left.poll() is None
    assert lock.fd == -1
