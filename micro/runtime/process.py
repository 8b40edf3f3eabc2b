"""One run of a program in a process group of its own, which never outlives this process, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from micro.errors import MicroError
from micro.runtime import launcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.runtime.output import Output

_LAUNCHER = str(Path(launcher.__file__))
_REST = 1.0
"""Seconds for the last output of a program that has ended: what left its group may hold its pipe for ever."""


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
    """A program that runs. `start` it; `ended` waits for its end, `stop` and `kill` ask for it.

    Both its output streams go to `output`. Its group gets SIGTERM, and SIGKILL after the grace, when it is stopped, when
    the program itself has ended before others of its group, and when this process is gone, be it by kill -9. Only a child
    that makes a session or a group of its own is out of reach. Nothing is left to be reaped.
    """

    def __init__(self, launch: Launch, output: Output) -> None:
        self.pid = 0
        """Of the program, and of its group; 0 before the start."""
        self._launch = launch
        self._output = output
        self._line: asyncio.StreamWriter | None = None
        self._early = b""
        """What was ordered before the line was open."""
        self._started = asyncio.Event()
        self._watching: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Return when the program runs. Raises `MicroError` where the system refuses to run anything.

        A program that can't be executed has run: it ended at once, with exit code 127, and its output says why.
        """
        ours, reading, launcher_process = self._spawn()
        self._watching = asyncio.create_task(
            self._watch(ours, reading, launcher_process), name=f"process {self._launch.command[0]}"
        )
        await self._started.wait()

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
        if self._line is None:
            self._early += order
        elif not self._line.is_closing():
            self._line.write(order)

    def _spawn(self) -> tuple[socket.socket, int, subprocess.Popen[bytes]]:
        launch = self._launch
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            fds = (theirs.fileno(), *launch.fds)
            launched = subprocess.Popen(  # noqa: S603 # the user's own program, by an absolute path
                [
                    *(sys.executable, "-I", "-S", _LAUNCHER),
                    *(",".join(map(str, fds)), str(launch.grace)),
                    *launch.command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=launch.env,
                cwd=launch.folder,
                pass_fds=fds,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            ours.close()
            os.close(reading)
            raise MicroError(f"can't run {launch.command[0]}: {error}") from error
        finally:
            theirs.close()
            os.close(writing)
        ours.setblocking(False)
        return ours, reading, launched

    async def _watch(self, ours: socket.socket, reading: int, launched: subprocess.Popen[bytes]) -> int:
        following = asyncio.create_task(self._output.follow(reading), name="output of a process")
        lines, self._line = await asyncio.open_unix_connection(sock=ours)
        self._line.write(self._early)
        try:
            with contextlib.suppress(OSError):  # the launcher ended before it had read an order
                self.pid = int(await lines.readline() or 0)
                self._started.set()
                await lines.read()
            code = await asyncio.to_thread(launched.wait)
            if code < 0:
                self._abandoned()
            await asyncio.wait({following}, timeout=_REST)
            return 128 - code if code < 0 else code
        except asyncio.CancelledError:
            self.kill()
            await asyncio.to_thread(launched.wait)
            raise
        finally:
            self._started.set()
            self._line.close()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _abandoned(self) -> None:
        """Somebody killed the launcher: its program goes, too."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
