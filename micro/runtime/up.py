"""`micro up` in the process that becomes the stack: take the folder, write the logs, run until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from micro.clock import SystemClock
from micro.runtime.ending import run
from micro.runtime.settings import ALL, Choice
from micro.runtime.state import StateFolder, lasting_name
from micro.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from micro.clock import Clock
    from micro.config.read import Config
    from micro.profile import Profile
    from micro.runtime.multi.forks import Forks
    from micro.runtime.multi.runner import MultiRunner
    from micro.runtime.options import Observer, RunnerOptions
    from micro.runtime.single import SingleRunner

_log = logging.getLogger("micro.runtime.up")


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
    output: Path | None = None
    """The file that stdout and stderr go to, where nobody else keeps it from growing without end."""
    began: float | None = None
    """The clock's monotonic time at which the command started; now, where it isn't known."""
    read: Callable[[], Config] | None = None
    """Reads the configuration again as it was read for this start, for edits to it."""
    migrate: bool = False
    """Make the databases on servers and bring them up to date; without, what is pending there keeps it from starting."""
    infra: bool = False
    """Start the local servers that the profile asks for, and stop them at the end."""
    tell: Callable[[str], None] = _log.info
    """Takes a line on each server, and what is done to have it."""
    forks: Forks | None = None
    """What forks processes, where that runs already."""


def up(
    config: Config,
    profile: Profile,
    *,
    observer: Observer,
    options: UpOptions | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the stack in this thread, the process's main one, until it is asked to stop; then nothing of ours is left.

    What a service's code has running may be: end the process with `micro.runtime.ending.leave`.

    `observer` is told when it is ready. SIGINT, SIGTERM and the verb `stop` drain it; a second one stops it at once.
    SIGHUP reads the configuration again, or drains it where it comes with the end of the terminal.

    Raises what keeps it from starting, each in one sentence: `StackRunning`, `PortInUse`, `ConfigurationError`,
    `MissingExtra`, `MigrationError`, `StoreUnavailable`.
    """
    options, clock = options or UpOptions(), clock or SystemClock()
    began = clock.monotonic() if options.began is None else options.began
    folder = StateFolder(config.stack.state)
    folder.acquire()

    async def main() -> None:
        # Loaded here, when the folder is known to be free and nobody looks for garbage.
        from micro.runtime.hangup import Hangup  # noqa: PLC0415 - as said above
        from micro.runtime.options import RunnerOptions  # noqa: PLC0415 - as said above
        from micro.runtime.stop import Stop  # noqa: PLC0415 - as said above

        with Stop() as stop, Hangup(stop=stop.ask) as hangup:
            chosen = RunnerOptions(
                folder=folder,
                observer=observer,
                stop=stop,
                began=began,
                choice=options.choice,
                read=options.read,
                reload=options.reload,
                tell=options.tell,
                forks=options.forks,
            )
            async with _backed(config, profile, options=options, clock=clock, unless=stop.asked) as found:
                if found is not None:
                    ready, migrate = found
                    async with _bounded(options.output, clock):
                        runner = _runner(config, ready, replace(chosen, migrate=migrate), clock)
                        hangup.reload = runner.reread
                        await runner.run()

    with contextlib.ExitStack() as held:
        held.callback(folder.release)
        logs = configure_logs(
            folder.logs,
            console=options.console,
            level=options.level,
            colour=options.colour,
            patient=profile.runner != "multi",
        )
        held.callback(logs.close)
        # Next to nothing of a start is garbage, and looking for it takes a tenth of the time. The runner enables it.
        held.callback(gc.enable)
        gc.disable()
        run(main, clock=clock)


def _backed(
    config: Config, profile: Profile, *, options: UpOptions, clock: Clock, unless: asyncio.Event
) -> AbstractAsyncContextManager[tuple[Profile, bool] | None]:
    """The profile with its servers there, and whether to migrate; see `micro.runtime.backing.backed`."""
    if not profile.servers:
        return contextlib.nullcontext((profile, False))
    from micro.runtime.backing import backed  # noqa: PLC0415 - for profiles with servers only

    return backed(config, profile, options=options, clock=clock, unless=unless)


@contextlib.asynccontextmanager
async def _bounded(output: Path | None, clock: Clock) -> AsyncIterator[None]:
    """Keep the file small; see `micro.runtime.detach.keep_small`."""
    if output is None:
        yield
        return
    from micro.runtime.detach import keep_small  # noqa: PLC0415 - for a detached process only
    from micro.runtime.supervise import Supervised  # noqa: PLC0415 - as above

    work = Supervised("output", partial(keep_small, output, clock), clock=clock)
    task = asyncio.create_task(work.run(), name="output")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _runner(
    config: Config, profile: Profile, chosen: RunnerOptions, clock: Clock
) -> SingleRunner | MultiRunner:
    if profile.runner == "multi":
        from micro.runtime.multi.runner import MultiRunner  # noqa: PLC0415 - for such profiles only

        return MultiRunner(config, profile, options=chosen, clock=clock)
    from micro.runtime.assemble import assemble  # noqa: PLC0415 - as above, for the others
    from micro.runtime.single import SingleRunner  # noqa: PLC0415 - as above

    name = lasting_name("stack", config.stack.root)
    choice = replace(chosen.choice, instance=name)
    return SingleRunner(assemble(config, profile, clock=clock, choice=choice), chosen)
