"""What a stack that was killed leaves: children that drain. The next one waits for their end, and hurries it along.

Every child holds a descriptor of one locked file, so the kernel knows whether any is left; the file names their processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from micro.errors import StackRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from micro.clock import Clock

_log = logging.getLogger("micro.runtime.multi.leftovers")

MARK = "micro.runtime."
"""What the command line of each child has in it: it was executed, or forked by one that was."""
PATIENCE = 5.0
"""Seconds that children of a killed stack get to finish what they have in hand."""
_LOOK = 0.05
_LAST = 5.0


class Lock:
    """The file `children` in the state folder. `acquire`, hand `fd` to every child, `note` who they are, `release`."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self.fd = -1
        self._path = folder / "children"
        self._clock = clock

    async def acquire(self, notice: Callable[[str], None]) -> None:
        """Return when no child of an earlier stack is left; `notice` is told what there is to wait for.

        Raises `StackRunning` where one can't be ended.
        """
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._locked():
            return
        notice("a killed stack left processes; waiting for them to finish what they have in hand")
        if await self._wait(PATIENCE):
            return
        left = [pid for pid in self._noted() if await asyncio.to_thread(_is_ours, pid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if not await self._wait(_LAST):
            self.release()
            raise StackRunning(f"processes of a killed stack don't end; to see them: ps -ef | grep {MARK}")

    def note(self, pids: Iterable[int]) -> None:
        """Write down which processes hold the file."""
        text = "".join(f"{pid}\n" for pid in pids).encode()
        try:
            os.pwrite(self.fd, text, 0)
            os.ftruncate(self.fd, len(text))
        except OSError as error:
            # Whether some are left, the lock tells; this is for those that then don't end.
            _log.warning("can't write to %s: %s", self._path, error.strerror)

    def release(self) -> None:
        """Let go of it. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    async def _wait(self, seconds: float) -> bool:
        end = self._clock.monotonic() + seconds
        while not self._locked():
            if self._clock.monotonic() >= end:
                return False
            await self._clock.sleep(_LOOK)
        return True

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _noted(self) -> list[int]:
        return [int(word) for word in os.pread(self.fd, 1 << 16, 0).split() if word.isdigit()]


def _is_ours(pid: int) -> bool:
    """Whether that process still is what was noted: its number may be another's by now."""
    listing = subprocess.run(  # noqa: S603 # fixed words and a number
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return MARK in listing.stdout
