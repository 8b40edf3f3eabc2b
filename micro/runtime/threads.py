"""Threads at the end of the process: Python waits for each of them, however long it is stuck in somebody's code."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from micro.clock import Clock


def still_running(before: Collection[threading.Thread], *, limit: float, clock: Clock) -> list[str]:
    """The names of the threads that Python would wait for: those not there `before`, not ended within `limit` seconds."""
    deadline = clock.monotonic() + limit
    started = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in started:
        thread.join(max(0.0, deadline - clock.monotonic()))
    return [thread.name for thread in started if thread.is_alive()]
