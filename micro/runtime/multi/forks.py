"""The supervisor's fork server: where children come from without importing everything anew (see ADR 0010).

Whatever it doesn't do, because it has ended or the system is no Linux, is done by executing Python.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from micro import registry
from micro.runtime.supervise import STABLE, restart_wait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from micro.clock import Clock
    from micro.profile import Profile
    from micro.runtime.programs.process import Launch

_log = logging.getLogger("micro.runtime.multi.forks")

PROGRAM = (sys.executable, "-P", "-m", "micro.runtime.multi.worker")
"""What it can fork, with any arguments."""
_SERVER = (sys.executable, "-P", "-m", "micro.runtime.multi.forkserver")
LINUX = sys.platform == "linux"
"""Elsewhere, what has been imported is not always fit to be forked: macOS gives no promise."""


class Forks:
    """`start`, keep `run` running, `fork`, `close` at the end; a context manager. Needs no event loop before `run`."""

    def __init__(self, modules: Sequence[str], *, env: Mapping[str, str], folder: Path) -> None:
        """`modules`: what to import besides what every child needs. `env` and `folder` are those of the children, too."""
        self.env, self.folder = env, folder
        self._modules = modules
        self._line: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, profile: Profile) -> Self:
        """For the stack in this folder, with this process's environment, on micro's own back ends of the profile."""
        ports: dict[registry.Port, str] = {"store": profile.store, "bus": profile.bus, "cache": profile.cache}
        modules = [
            registry.built_in_module(port, url)
            for port, url in (*ports.items(), ("discovery", profile.cache))
        ]
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        return cls([*filter(None, modules)], env=env, folder=Path.cwd())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the fork server, while it runs."""
        return None if self._server is None else self._server.pid

    def start(self) -> None:
        """Run it, unless it runs; it takes orders at once, and executes them when it has imported everything."""
        if not LINUX or self._line is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._server = subprocess.Popen(  # noqa: S603 # this very Python, and modules of micro
                    [*_SERVER, str(theirs.fileno()), *self._modules],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=self.env,
                    cwd=self.folder,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                _log.warning("processes start slower: can't run a fork server: %s", error)
                return
        ours.setblocking(False)
        self._line = ours

    def fork(self, launch: Launch, line: int, output: int) -> bool:
        """Order a launcher with this line and output for the program; whether it could be ordered."""
        arguments = launch.command[len(PROGRAM) :]
        if self._line is None or launch.command != (*PROGRAM, *arguments):
            return False
        order = {"arguments": arguments, "grace": launch.grace, "fds": launch.fds}
        try:
            socket.send_fds(self._line, [msgspec.json.encode(order)], [line, output, *launch.fds])
        except OSError:
            return False
        return True

    async def run(self, clock: Clock) -> None:
        """Start it again whenever it ends, later each time; what it has forked runs on. Never returns where there is one."""
        failures = 0
        while LINUX:
            began = clock.monotonic()
            if self._line is not None:
                with suppress(OSError):
                    await asyncio.get_running_loop().sock_recv(self._line, 1)
                self.close()
            failures = 1 if clock.monotonic() - began >= STABLE else failures + 1
            wait = restart_wait(failures - 1, clock)
            _log.warning("the fork server ended; it starts again in %.1f s", wait)
            await clock.sleep(wait)
            self.start()

    def kill(self) -> None:
        """End a server that does nothing: what it was ordered and has not done is then known not to be done."""
        if self._server is not None:
            self._server.kill()

    def close(self) -> None:
        """End it, and leave nothing. Idempotent; not while `run` runs."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
