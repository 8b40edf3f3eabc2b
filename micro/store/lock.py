"""One process per file, kept by the kernel."""

from __future__ import annotations

import fcntl
import os
from typing import IO, TYPE_CHECKING

from micro.errors import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path


class FileLock:
    """An exclusive lock that ends with its process, however that ends.

    It is an ``flock`` on a file of its own beside the guarded one, which keeps the owner's process id for whoever is
    turned away. The file is never removed: a lock on a removed file guards nothing. The lock holds within a process
    too, and is not passed on to programs that the process starts.
    """

    def __init__(self, guarded: Path) -> None:
        self._guarded = guarded
        self._path = guarded.with_name(f"{guarded.name}.lock")
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock at once, or raise `StoreUnavailable` naming the file and, where known, the process."""
        try:
            file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        except BlockingIOError as error:
            owner = file.read().strip()
            file.close()
            raise StoreUnavailable(f"{self._guarded} is in use by {_named(owner)}; stop it first") from error
        except OSError as error:
            file.close()
            raise StoreUnavailable(f"{self._path}: can't be locked: {error.strerror}") from error
        self._file = file

    def release(self) -> None:
        """Give the lock back. Does nothing where it isn't held."""
        if self._file is not None:
            self._file.truncate(0)
            fcntl.flock(
                self._file, fcntl.LOCK_UN
            )  # closing isn't enough while a child is between fork and exec
            self._file.close()
            self._file = None


def _named(owner: str) -> str:
    if not owner.isdigit():
        return "another process"
    return "this process" if int(owner) == os.getpid() else f"process {owner}"
