"""A detached process is nobody's child, and says through a pipe how its start went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from micro.runtime.detach import READY_FD, Announcement

PAUSE = threading.Event()
"""Never set: waiting for it passes a moment between two looks at what can't be waited for."""

DETACH = """
import json, os, pathlib, sys
from micro.errors import MicroError
from micro.runtime.detach import detach
try:
    print(json.dumps(detach(sys.argv[2:], environ=os.environ, log=pathlib.Path(sys.argv[1]))))
except MicroError as error:
    print(json.dumps({"raised": type(error).__name__, "text": str(error)}))
"""

MICRO = """
import os, sys
from micro.runtime.detach import Announcement
announcement = Announcement(os.environ)
what = sys.argv[1]
print("said", what, flush=True)
if what == "ready":
    announcement.ready({"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0),
                        "tty": os.isatty(0), "environment": "MICRO_READY_FD" in os.environ})
    announcement.ready({"again": True})
elif what == "refuse":
    announcement.failed("8000 is in use")
elif what == "die":
    sys.exit("Oh dear.")
elif what == "talk":
    import asyncio
    from pathlib import Path
    from micro.runtime.detach import keep_small

    class Clock:
        looks = 0
        async def sleep(self, seconds):
            self.looks += 1
            print("look", self.looks, "x" * 100, flush=True)
            if self.looks == 5:
                announcement.ready({})
                raise asyncio.CancelledError

    try:
        asyncio.run(keep_small(Path(os.environ["OUTPUT"]), Clock(), largest=300))
    except asyncio.CancelledError:
        print("end", flush=True)
        print("to stderr", file=sys.stderr, flush=True)
elif what == "fail":
    print("error: a bug", "Please report it.", sep="\\n")
"""


@pytest.fixture
def detached(tmp_path: Path) -> Any:
    """`detached(word)` starts a stand-in for `python -m micro word` from a process of its own; what that one got."""
    package = tmp_path / "program" / "micro"
    package.mkdir(parents=True)
    # Beside the real package, for its modules; before it, for `-m micro`.
    (package / "__init__.py").write_text(
        "import micro_real_path; __path__ = [*__path__, micro_real_path.PATH]\n"
    )
    (package / "__main__.py").write_text(MICRO)
    real = str(Path(sys.modules["micro"].__file__ or "").parent)
    (tmp_path / "program" / "micro_real_path.py").write_text(f"PATH = {real!r}\n")

    def run(word: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", DETACH, tmp_path / "logs" / "up.log", word],
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path / "program"),
                "OUTPUT": str(tmp_path / "logs" / "up.log"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    return run


def test_it_returns_what_the_child_reports_when_it_is_ready(detached: Any, tmp_path: Path) -> None:
    report = detached("ready")
    assert report["session"] != os.getsid(0)
    assert report["parent"] != os.getpid()
    assert report["tty"] is False
    assert report["environment"] is False
    assert "said ready" in (tmp_path / "logs" / "up.log").read_text()


def test_a_refusal_is_raised_as_it_was_said(detached: Any) -> None:
    assert detached("refuse") == {"raised": "UsageError", "text": "8000 is in use"}


def test_a_child_that_dies_is_told_by_the_last_line_of_its_log(detached: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "up.log").write_text("of an earlier run\n")
    outcome = detached("die")
    assert outcome["raised"] == "MicroError"
    assert "Oh dear." in outcome["text"]
    assert "up.log" in outcome["text"]


def test_an_error_in_its_log_is_told_rather_than_what_comes_after(detached: Any) -> None:
    assert "ready: a bug (see" in detached("fail")["text"]


def test_an_output_that_grows_begins_anew_and_nothing_of_the_latest_is_lost(
    detached: Any, tmp_path: Path
) -> None:
    detached("talk")
    log = tmp_path / "logs" / "up.log"
    while "to stderr" not in log.read_text():
        PAUSE.wait(0.01)
    assert [line[:6] for line in log.with_name("up.log.1").read_text().splitlines()] == [
        "said t",
        "look 1",
        "look 2",
        "look 3",
    ]
    assert log.read_text().startswith("look 4")
    assert log.read_text().endswith("end\nto stderr\n")


def test_an_output_that_is_large_already_begins_anew_with_the_process(detached: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "up.log"
    with log.open("wb") as file:
        file.truncate(10_000_001)
    detached("ready")
    assert log.read_text() == "said ready\n"
    assert log.with_name("up.log.1").stat().st_size == 10_000_001


def test_nobody_waiting_is_no_error() -> None:
    Announcement({}).ready({})
    Announcement({READY_FD: "x"}).failed("")


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {READY_FD: str(writing)}
    Announcement(environment).ready({})
    assert environment == {}
