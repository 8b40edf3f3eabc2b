"""SIGHUP reads the settings again, unless it tells that the terminal is gone."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys

import pytest

from micro.runtime.hangup import Hangup

LIMIT = 60.0


class Told:
    def __init__(self) -> None:
        self.what: list[str] = []
        self.news = asyncio.Event()

    def reload(self) -> None:
        self.what.append("reload")
        self.news.set()

    def stop(self) -> None:
        self.what.append("stop")
        self.news.set()


@pytest.mark.parametrize(
    ("terminals", "what"),
    [
        ((False, False), "reload"),
        ((True, True), "reload"),
        ((True, False), "stop"),
        ((False, True), "reload"),
    ],
)
async def test_only_a_terminal_that_went_away_stops_the_stack(
    terminals: tuple[bool, bool], what: str
) -> None:
    told, answers = Told(), iter(terminals)
    with Hangup(reload=told.reload, stop=told.stop, terminal=lambda: next(answers)):
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(LIMIT):
            await told.news.wait()
    assert told.what == [what]


async def test_before_there_is_anything_to_reload_only_the_end_of_the_terminal_counts() -> None:
    told, answers = Told(), iter((True, True, True, False))
    with Hangup(stop=told.stop, terminal=lambda: next(answers)) as hangup:
        hangup._take()
        assert told.what == []
        hangup.reload = told.reload
        hangup._take()
        hangup._take()
    assert told.what == ["reload", "stop"]


async def test_the_signal_is_given_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    told = Told()
    with Hangup(reload=told.reload, stop=told.stop, terminal=lambda: False):
        pass
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_process_without_a_terminal_knows_it() -> None:
    code = "from micro.runtime.hangup import has_terminal; print(has_terminal())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stdout == "False\n"


CHILD = """
import os, signal
from micro.runtime.hangup import has_terminal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first terminal that a session's leader opens becomes its own
print(has_terminal(), flush=True)
try:
    os.read(0, 1)
except OSError:
    pass
print(has_terminal(), flush=True)
"""


def test_a_terminal_is_known_and_so_is_its_end() -> None:
    terminal, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=slave, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with child:
        os.close(slave)
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        os.close(terminal)
        assert child.stdout.readline() == "False\n"
