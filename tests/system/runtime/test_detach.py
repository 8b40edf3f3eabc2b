"""`micro up --detach` returns when the stack is ready, and leaves it to itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from micro.runtime.client import find_stack
from micro.runtime.state import read_run

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60.0

HELLO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
ONE = '[services.hello]\napp = "hello:app"\nroutes = ["/hello"]\n'


def micro(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "micro", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path, write: Any) -> Any:
    """A stack that is stopped at the end, whatever became of it."""
    write(ONE, hello=HELLO)
    yield tmp_path
    record = read_run(tmp_path / ".micro")
    if record is not None and psutil.pid_exists(record.pid):
        psutil.Process(record.pid).kill()


def test_it_runs_on_in_a_session_of_its_own_without_a_terminal(folder: Path) -> None:
    done = micro(folder, "up", "--detach")
    assert done.returncode == 0, done.stderr
    record = read_run(folder / ".micro")
    assert record is not None
    process = psutil.Process(record.pid)
    assert process.status() != psutil.STATUS_ZOMBIE
    assert process.ppid() != os.getpid()
    assert os.getsid(record.pid) not in {os.getsid(0), record.pid}
    assert process.open_files()[0].path  # it can be looked at, and its input is none of ours
    with socket.create_connection(record.gateway.removeprefix("http://").split(":"), timeout=LIMIT):
        pass
    find_stack(folder / ".micro").ask("stop", {})
    process.wait(LIMIT)
    assert read_run(folder / ".micro") is None


def test_a_refusal_has_exit_code_2_and_the_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = micro(folder, "up", "--detach", "--port", str(port))
    assert done.returncode == 2
    assert f"gateway: 127.0.0.1:{port} is in use" in done.stderr
    assert read_run(folder / ".micro") is None


def test_of_several_that_are_started_at_once_one_runs(folder: Path) -> None:
    outcomes: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(micro(folder, "up", "--detach"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.returncode for done in outcomes) == [0, 2, 2]
    assert all("already runs here" in done.stderr for done in outcomes if done.returncode)
    record = read_run(folder / ".micro")
    assert record is not None
    find_stack(folder / ".micro").ask("stop", {})
    psutil.Process(record.pid).wait(LIMIT)
