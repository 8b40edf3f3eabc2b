"""Files that grow by whole lines and are rotated by size: NAME, then NAME.1 (newer) to NAME.n (oldest)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class RotatingFile:
    """Appends lines; a file that would outgrow `max_bytes` becomes NAME.1, and so on up to NAME.`keep`.

    Opened with the first write. A line is never split over two files. Not safe to use from two threads at once.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10_000_000, keep: int = 3) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._handle: int | None = None
        self._size = 0
        self._torn = False

    def write(self, lines: bytes) -> None:
        """Append `lines`, which end in a newline. Raises `OSError`; what got written until then stays.

        After a write that was cut short (a full disk), the next one starts on a new line.
        """
        handle = self._ready(len(lines))
        data = b"\n" + lines if self._torn else lines
        while data:
            written = os.write(handle, data)
            self._size += written
            data = data[written:]
            self._torn = bool(data)

    def close(self) -> None:
        """Close the file. Idempotent; a later write opens it again."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def _ready(self, more: int) -> int:
        if self._handle is None:
            self._open()
        if self._size and self._size + more > self._max_bytes:
            self.close()
            rotate(self.path, keep=self._keep)
            self._open()
        assert self._handle is not None
        return self._handle

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._handle).st_size
        self._torn = self._size > 0 and os.pread(self._handle, 1, self._size - 1) != b"\n"


def rotate(path: Path, *, keep: int) -> None:
    """Make room for a new file of that name; the `keep` latest old ones stay. Raises `OSError`."""
    for number in range(keep - 1, -1, -1):
        older = rotated(path, number)
        if older.exists():
            older.replace(rotated(path, number + 1))
    if keep == 0:
        path.unlink()


def rotated(path: Path, number: int) -> Path:
    """The name of the `number`-th older file; 0 is the file itself."""
    return path.with_name(f"{path.name}.{number}") if number else path
