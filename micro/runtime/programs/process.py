"""One run of a program in a process group of its own, which never outlives this process, however that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from micro.errors import MicroError
from micro.runtime.programs import launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from micro.runtime.multi.forks import Forks
    from micro.runtime.programs.output import Output

_LAUNCHER = str(Path(launcher.__file__))
_REST = 1.0
"""Seconds for the last output of a program that has ended: what left its group may hold its pipe for ever."""
_FORKED = 20.0
"""Seconds that a fork server gets to run something; one that takes longer is stuck."""
_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to run, and how."""

    command: tuple[str, ...]
    """The program's path, and its arguments. No shell reads them."""
    env: Mapping[str, str]
    """All of its environment."""
    folder: Path
    grace: float
    """Seconds from SIGTERM to SIGKILL."""
    fds: tuple[int, ...] = ()
    """Open files that the program gets, under the same numbers; it gets no others of ours."""


class Process:
    """A program that runs. `begin` or `start` it; `ended` waits for its end, `stop` and `kill` ask for it.

    Both its output streams go to `output`. Its group gets SIGTERM, and SIGKILL after the grace, when it is stopped, when
    the program itself has ended before others of its group, and when this process is gone, be it by kill -9. Only a child
    that makes a session or a group of its own is out of reach. Nothing is left to be reaped.
    """

    def __init__(self, launch: Launch, output: Output, *, forks: Forks | None = None) -> None:
        """`forks` runs it where it can: what is a child of micro is there sooner then."""
        self.pid = 0
        """Of the program, and of its group; 0 before the start."""
        self.overdue = False
        """Whether it was killed because the grace was over."""
        self._launch = launch
        self._output = output
        self._forks = forks
        self._line: asyncio.WriteTransport | None = None
        self._ordered = b""
        self._started = asyncio.Event()
        self._watching: asyncio.Task[int] | None = None
        self._refusal: MicroError | None = None
        """Why it never ran."""

    def begin(self) -> None:
        """Have it run soon. From now on its end can be asked and waited for."""
        self._watching = asyncio.create_task(self._live(), name=f"process {self._launch.command[0]}")

    async def start(self) -> None:
        """Return when the program runs, which it need not have begun to. Raises `MicroError` where the system refuses.

        A program that can't be executed has run: it ended at once, with exit code 127, and its output says why.
        """
        if self._watching is None:
            self.begin()
        assert self._watching is not None
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait({started, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if self._refusal is not None:
            raise self._refusal

    async def ended(self) -> int:
        """Wait for the end of the program and its group: the program's exit code, 128 + n for signal n."""
        assert self._watching is not None
        return await asyncio.shield(self._watching)

    def stop(self) -> None:
        """Ask the group to end, by SIGTERM and, when the grace is over, SIGKILL. Idempotent."""
        self._order(launcher.END)

    def kill(self) -> None:
        """End the group now, by SIGKILL. Idempotent."""
        self._order(launcher.KILL)

    def _order(self, order: bytes) -> None:
        self._ordered += order
        if self._line is not None and not self._line.is_closing():
            self._line.write(order)

    async def _live(self) -> int:
        """From the start to the end."""
        try:
            code = await self._attempt(self._fork)
            if not self._started.is_set():
                code = await self._attempt(self._execute)
        except MicroError as refusal:
            self._refusal, code = refusal, launcher.CANNOT_RUN
        return _KILLED if code is None else code

    def _fork(self, line: int, output: int) -> bool:
        return self._forks is not None and self._forks.fork(self._launch, line, output)

    def _execute(self, line: int, output: int) -> subprocess.Popen[bytes]:
        launch = self._launch
        fds = (line, *launch.fds)
        return subprocess.Popen(  # noqa: S603 # the user's own program, by an absolute path
            [
                *(sys.executable, "-I", "-S", _LAUNCHER),
                *(",".join(map(str, fds)), str(launch.grace)),
                *launch.command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=launch.env,
            cwd=launch.folder,
            pass_fds=fds,
            start_new_session=True,
        )

    async def _attempt(self, begin: Callable[[int, int], subprocess.Popen[bytes] | bool]) -> int | None:
        """Have a launcher run; the program's exit code, or nothing where no launcher came to be, or it was killed."""
        with ExitStack() as ours, ExitStack() as theirs:
            try:
                mine, line = socket.socketpair()
                ours.enter_context(mine)
                theirs.enter_context(line)
                reading, writing = os.pipe()
                ours.callback(os.close, reading)
                theirs.callback(os.close, writing)
                launched = begin(line.fileno(), writing)
            except (OSError, ValueError) as error:
                raise MicroError(f"can't run {self._launch.command[0]}: {error}") from error
            theirs.close()
            if launched is False:
                return None
            ours.pop_all()
        try:
            return await self._watch(mine, reading, limit=_FORKED if launched is True else None)
        finally:
            if not isinstance(launched, bool):
                await asyncio.to_thread(launched.wait)

    async def _watch(self, mine: socket.socket, reading: int, *, limit: float | None) -> int | None:
        loop = asyncio.get_running_loop()
        following = asyncio.create_task(self._output.follow(reading), name="output of a process")
        mine.setblocking(False)
        self._line, told = await loop.create_unix_connection(_Told, sock=mine)
        self._line.write(self._ordered)
        try:
            code = await self._hear(told, limit)
            await asyncio.wait({following}, timeout=_REST)
        except asyncio.CancelledError:
            self.kill()
            await told.over.wait()
            raise
        else:
            return code
        finally:
            self._line.close()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _hear(self, told: _Told, limit: float | None) -> int | None:
        try:
            async with asyncio.timeout(limit):
                pid = await told.number(0)
        except TimeoutError:
            assert self._forks is not None
            self._forks.kill()
            pid = await told.number(0)
        if pid is None:
            return None
        self.pid = pid
        self._started.set()
        code = await told.number(1)
        if code is None:
            self._abandoned()
            return None
        overdue, code = divmod(code, launcher.OVERDUE)
        self.overdue = bool(overdue)
        return code

    def _abandoned(self) -> None:
        """Somebody killed the launcher: its program goes, too."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class _Told(asyncio.Protocol):
    """The numbers that a launcher tells, a line each."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._data = b""
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()
        self._news.set()

    async def number(self, at: int) -> int | None:
        """The number in line `at`; nothing where the launcher has ended without it."""
        while self._data.count(b"\n") <= at and not self.over.is_set():
            self._news.clear()
            await self._news.wait()
        lines = self._data.split(b"\n")[:-1]
        return int(lines[at]) if at < len(lines) else None
