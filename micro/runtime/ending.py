"""The end of a process, whose services may have tasks that swallow their cancellation, and threads that are stuck.

Python would wait for them for ever. Here each gets its time, and then is named and left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from micro.clock import Clock

    T = TypeVar("T")

_log = logging.getLogger("micro.runtime.ending")

CANCELLATION = 5.0
"""Seconds that work has to end when it is cancelled. What swallows its cancellation would take for ever."""
_LAST = 1.0
"""Seconds that tasks, and then threads, get to end by themselves once everything else is closed."""
_NAMED = 5
_left: list[str] = []
"""What `run` has left behind in this process."""


def run(main: Callable[[], Coroutine[Any, Any, T]], *, clock: Clock) -> T:
    """What `main` returns, run in an event loop of its own.

    What is left then has two seconds to end; what doesn't is named in a warning. Have `leave` end the process.
    """
    import uvloop  # noqa: PLC0415 - loaded with the rest of what runs

    before = threading.enumerate()
    executor = ThreadPoolExecutor(thread_name_prefix="micro")
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    runner.get_loop().set_default_executor(executor)
    try:
        return runner.run(main())
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        left = [*runner.run(_last_tasks()), *still_running(before, limit=_LAST, clock=clock)]
        if left:
            _left.extend(left)
            more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
            _log.warning("left behind, as they don't end: %s%s", ", ".join(left[:_NAMED]), more)
        else:
            runner.close()


def leave(code: int) -> None:
    """End the process with that exit code, where `run` left behind what Python would wait for. Else it does nothing."""
    if _left:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(code)


async def cancelled(tasks: Collection[asyncio.Task[Any]], *, limit: float) -> set[asyncio.Task[Any]]:
    """Cancel all, and wait for their end; those that have not ended after `limit` seconds. What fails is logged."""
    for task in tasks:
        task.cancel()
    ended, deaf = await asyncio.wait(tasks, timeout=limit) if tasks else (set(), set())
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed when it was cancelled", task.get_name(), exc_info=error)
    return deaf


def place(task: asyncio.Task[Any]) -> str:
    """Where a task waits: the innermost line of a coroutine that is not the standard library's."""
    found = task.get_name()
    waits: Any = task.get_coro()
    while (frame := getattr(waits, "cr_frame", None)) is not None:
        if not frame.f_globals["__name__"].startswith("asyncio."):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        waits = getattr(waits, "cr_await", None)
    return found


def still_running(before: Collection[threading.Thread], *, limit: float, clock: Clock) -> list[str]:
    """The names of the threads that Python would wait for: those not there `before`, not ended within `limit` seconds."""
    deadline = clock.monotonic() + limit
    started = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in started:
        thread.join(max(0.0, deadline - clock.monotonic()))
    return [thread.name for thread in started if thread.is_alive()]


async def _last_tasks() -> list[str]:
    """Cancel every other task; what does not end. Asynchronous generators that nobody has finished are closed, too."""
    deaf = await cancelled(asyncio.all_tasks() - {asyncio.current_task()}, limit=_LAST)
    if not deaf:
        closing = asyncio.create_task(
            asyncio.get_running_loop().shutdown_asyncgens(), name="asynchronous generators"
        )
        _, deaf = await asyncio.wait({closing}, timeout=_LAST)
    return sorted(f"{task.get_name()} ({place(task)})" for task in deaf)
