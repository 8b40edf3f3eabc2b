"""`micro up` in the process that becomes the stack: take the folder, write the logs, run until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from micro.clock import SystemClock
from micro.runtime.settings import ALL, Choice
from micro.runtime.state import StateFolder
from micro.runtime.threads import still_running
from micro.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from micro.clock import Clock
    from micro.config import Config
    from micro.profile import Profile
    from micro.runtime.single import Observer

_log = logging.getLogger("micro.runtime.up")

_THREADS = 1.0
"""Seconds that threads get to end by themselves once everything else is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What the command line adds to the configuration."""

    choice: Choice = ALL
    reload: bool = True
    level: str = "info"
    """The least level of log records to keep."""
    console: bool = True
    """Show log records on stderr, too."""
    colour: bool = False
    began: float | None = None
    """The clock's monotonic time at which the command started; now, where it isn't known."""
    read: Callable[[], Config] | None = None
    """Reads the configuration again as it was read for this start, for edits to it."""


def up(
    config: Config,
    profile: Profile,
    *,
    observer: Observer,
    options: UpOptions | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the stack in this thread, the process's main one, until it is asked to stop; then nothing of it is left.

    `observer` is told when it is ready. SIGINT, SIGTERM and the verb `stop` drain it; a second one stops it at once.

    Raises what keeps it from starting, each in one sentence: `StackRunning`, `PortInUse`, `ConfigurationError`,
    `MissingExtra`, `MigrationError`, `StoreUnavailable`.
    """
    options, clock = options or UpOptions(), clock or SystemClock()
    began = clock.monotonic() if options.began is None else options.began
    folder = StateFolder(config.stack.state)
    folder.acquire()

    async def main() -> None:
        # Loaded here, when the folder is known to be free and nobody looks for garbage.
        from micro.runtime.assemble import assemble  # noqa: PLC0415 - as said above
        from micro.runtime.single import RunnerOptions, SingleRunner  # noqa: PLC0415 - as said above
        from micro.runtime.stop import Stop  # noqa: PLC0415 - as said above

        with Stop() as stop:
            chosen = RunnerOptions(
                folder=folder,
                observer=observer,
                stop=stop,
                began=began,
                choice=options.choice,
                read=options.read,
                reload=options.reload,
            )
            system = assemble(config, profile, clock=clock, choice=options.choice)
            await SingleRunner(system, chosen).run()

    with contextlib.ExitStack() as held:
        held.callback(folder.release)
        logs = configure_logs(
            folder.logs, console=options.console, level=options.level, colour=options.colour
        )
        held.callback(logs.close)
        # Next to nothing of a start is garbage, and looking for it takes a tenth of the time. The runner enables it.
        held.callback(gc.enable)
        gc.disable()
        stuck = _run(main, clock)
        if stuck:
            _log.warning("left behind, as they don't end: %s", ", ".join(stuck))
    if stuck:
        # Python would wait for these threads for ever; everything that is ours is closed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _run(main: Callable[[], Coroutine[Any, Any, None]], clock: Clock) -> list[str]:
    """Run `main` in an event loop of its own; the names of the threads that don't end when it has."""
    import uvloop  # noqa: PLC0415 - loaded with the rest of what runs

    before = threading.enumerate()
    executor = ThreadPoolExecutor(thread_name_prefix="micro")
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    runner.get_loop().set_default_executor(executor)
    stuck: list[str] = []
    try:
        runner.run(main())
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        stuck = still_running(before, limit=_THREADS, clock=clock)
        if not stuck:
            runner.close()
    return stuck
