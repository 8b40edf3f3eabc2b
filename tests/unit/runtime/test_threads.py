"""Threads that Python would wait for are found, the others are left alone."""

from __future__ import annotations

import threading

from micro.clock import SystemClock
from micro.runtime.threads import still_running


def test_a_thread_that_ends_in_time_is_waited_for_and_one_that_does_not_is_named() -> None:
    before, release, soon = threading.enumerate(), threading.Event(), threading.Event()
    stuck = threading.Thread(target=release.wait, name="stuck")
    ending = threading.Thread(target=soon.wait, args=(5,), name="ending")
    background = threading.Thread(target=release.wait, name="background", daemon=True)
    for thread in (ending, stuck, background):
        thread.start()
    soon.set()
    assert still_running(before, limit=0.05, clock=SystemClock()) == ["stuck"]
    assert not ending.is_alive()
    release.set()
    assert still_running(before, limit=5, clock=SystemClock()) == []
