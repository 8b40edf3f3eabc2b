"""Keeps a program running: started again when it ends, later each time while it fails."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from micro.errors import MicroError
from micro.runtime.programs.output import Output
from micro.runtime.programs.process import Process
from micro.runtime.supervise import STABLE, restart_wait
from micro.telemetry.logs import service_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.clock import Clock
    from micro.runtime.programs.process import Launch

_LOOP = 3
"""Ends in a row, each sooner than a stable run, that make a crash loop."""
_SIGNALLED = 128


def _nobody(what: str, pid: int) -> None:
    """Tell nobody."""


class Program:
    """A program that is to run until it is stopped. Its lines are log records of the service `name`.

    `start` it once, then keep `run` running in a task; `stop` or `kill` it at the end, whatever has happened.
    """

    def __init__(
        self, name: str, launch: Launch, *, clock: Clock, tell: Callable[[str, int], None] = _nobody
    ) -> None:
        """`tell` hears of each `started` and `stopped`, with the program's process id."""
        self.name = name
        self.restarts = 0
        self._launch = launch
        self._tell = tell
        self._clock = clock
        self._logger = service_logger(name)
        self._output = Output(self._logger.info, clock=clock)
        self._process: Process | None = None
        self._failures = 0
        self.began = 0.0
        """The clock's monotonic time of its latest start."""
        self._stopping = asyncio.Event()
        self._afresh = False
        """Whether it ends because it is to start again."""

    @property
    def pid(self) -> int | None:
        """Of the program, where it runs."""
        return None if self._process is None else self._process.pid or None

    @property
    def loops(self) -> bool:
        """Whether it ends again and again."""
        return self._failures >= _LOOP and (self._process is None or not self._is_stable())

    async def start(self) -> None:
        """Run it. Raises `MicroError` where the system refuses."""
        self.began = self._clock.monotonic()
        process = self._process = Process(self._launch, self._output)
        try:
            await process.start()
        except MicroError:
            self._process = None
            raise
        self._tell("started", process.pid)

    async def ended(self) -> str:
        """Wait for its end: how it ended, with its last words."""
        process = self._process
        if process is None:
            return "does not run"
        code = await process.ended()
        self._gone(process)
        return f"ended {described(code)}" + (f": {self._output.last}" if self._output.last else "")

    async def run(self) -> None:
        """Start it again whenever it ends, half a second to half a minute later. Returns when it is stopped."""
        while True:
            reason = await self.ended()
            if self._stopping.is_set():
                return
            if self._afresh:
                self._afresh, self._failures = False, 0
                await self._start_again()
                continue
            self._failures = 1 if self._is_stable() else self._failures + 1
            wait = restart_wait(self._failures - 1, self._clock)
            self._logger.error("%s %s; it starts again in %.1f s", self.name, reason, wait)
            await self._clock.sleep(wait)
            if self._stopping.is_set():
                return
            self.restarts += 1
            await self._start_again()

    async def restart(self) -> None:
        """End it, and have it started again at once; return when it has ended. `run` runs."""
        if self._process is not None:
            self._afresh = True
            process = self._process
            process.stop()
            await process.ended()

    async def stop(self) -> None:
        """End it and its group, by SIGKILL where the grace is not enough. Idempotent."""
        self._stopping.set()
        if self._process is not None:
            process = self._process
            process.stop()
            await process.ended()
            if process.overdue:
                self._logger.warning("%s did not end in time and was killed", self.name)
            self._gone(process)

    async def kill(self) -> None:
        """End it and its group at once. Idempotent."""
        self._stopping.set()
        if self._process is not None:
            process = self._process
            process.kill()
            await process.ended()
            self._gone(process)

    async def _start_again(self) -> None:
        try:
            await self.start()
        except MicroError as error:
            self._logger.error("%s", error)  # noqa: TRY400 # the sentence says it all

    def _gone(self, process: Process) -> None:
        if self._process is process:
            self._process = None
            self._tell("stopped", process.pid)

    def _is_stable(self) -> bool:
        return self._clock.monotonic() - self.began >= STABLE


def described(code: int) -> str:
    """An exit code, or the signal that it stands for."""
    try:
        return f"by {signal.Signals(code - _SIGNALLED).name}"
    except ValueError:
        return f"with code {code}"
