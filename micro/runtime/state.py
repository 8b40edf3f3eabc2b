"""The state folder `.micro/`: who runs the stack here, and where its control socket lies.

The lock is the truth about who runs: the kernel drops it with the process, however that ends. What a killed stack left
behind (its record, its socket) is swept by the next one that takes the lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from micro.errors import ConfigurationError, StackRunning

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_SOCKET_PATH = 100
"""Bytes. The limit of `sun_path` is 108 on Linux and 104 on macOS, the closing NUL included."""
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
"""What Kafka takes in no name."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a running stack says about itself in `.micro/run.json`."""

    pid: int
    socket: str
    """The path of the control socket."""
    stack: str
    profile: str
    started_at: str
    """RFC 3339."""
    gateway: str
    """`http://host:port`."""
    services: dict[str, str]
    """Per service, the base URL of its own port, or of its first instance elsewhere."""
    infra: tuple[str, ...] = ()
    """The keys of its profile whose servers are those of `micro infra`."""


class StateFolder:
    """`.micro/` in the hands of one running stack.

    Construct, `acquire`, `release`. Only the holder writes here; anyone may call `read_run`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.keys = path / "keys"
        self._lock: int | None = None

    def acquire(self) -> None:
        """Make the folder (0700) and lock it for this process; sweep what a killed stack left.

        Raises `StackRunning`, naming the process that has it, and `ConfigurationError` where nothing can be written.
        """
        try:
            for folder in (self.path, self.logs, self.keys):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise ConfigurationError("is in the way: it is to be a folder", file=self.path) from error
        except OSError as error:
            raise ConfigurationError(f"can't write here: {error.strerror}", file=self.path) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise StackRunning(
                f"a stack already runs here (process {holder or 'unknown'}, state in {self.path}); "
                "stop it with: micro down"
            ) from error
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(lock)
            raise ConfigurationError(f"can't write here: {error.strerror}", file=self.path) from error
        self._lock = lock
        self._sweep()

    def socket_path(self) -> Path:
        """Where this stack's control socket belongs. Makes its folder.

        Raises `ConfigurationError` where that folder is someone else's or the path is too long for a socket.
        """
        path = private_folder(_temporary_roots()) / f"{_digest(self.path)[:16]}.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise ConfigurationError(f"{path} is too long for a Unix socket; set TMPDIR to a shorter folder")
        return path

    def publish(self, record: RunRecord) -> None:
        """Tell other processes that the stack is up: written whole or not at all. Raises `ConfigurationError`."""
        draft = self.path / "run.json.new"
        try:
            draft.write_bytes(msgspec.json.encode(record))
            draft.chmod(0o600)
            draft.replace(self.path / "run.json")
        except OSError as error:
            raise ConfigurationError(f"can't write here: {error.strerror}", file=self.path) from error

    def release(self) -> None:
        """Remove the record and the socket, then unlock. Idempotent."""
        if self._lock is None:
            return
        self._sweep()
        os.close(self._lock)
        self._lock = None

    def _sweep(self) -> None:
        record = read_run(self.path)
        if record is not None:
            Path(record.socket).unlink(missing_ok=True)
        (self.path / "run.json").unlink(missing_ok=True)


def lasting_name(process: str, folder: Path) -> str:
    """The name of a process of the stack in `folder` among all that use the same servers: when it comes back, too.

    Who comes back under a name has its partitions and buckets at once. So no two may have one at a time: neither those of
    two machines, nor those of two folders, each of which just one stack can hold.
    """
    return f"{process}.{_UNFIT.sub('-', socket.gethostname())}.{_digest(folder)[:8]}"


def read_run(folder: Path) -> RunRecord | None:
    """What `run.json` in the state folder says, or nothing. It may be a killed stack's: connecting to its socket tells."""
    try:
        return msgspec.json.decode((folder / "run.json").read_bytes(), type=RunRecord)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def private_folder(roots: Iterable[Path]) -> Path:
    """A folder `micro-UID` that only this user can enter, under the first of `roots` that has room for sockets.

    Raises `ConfigurationError` where it exists and is another's, or a link: others can write in temporary folders.
    """
    name = f"micro-{os.getuid()}"
    candidates = [root / name for root in roots]
    room = _LONGEST_SOCKET_PATH - 22
    folder = next((path for path in candidates if len(os.fsencode(path)) <= room), candidates[0])
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigurationError(f"can't make it: {error.strerror}", file=folder) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigurationError("belongs to someone else; remove it or set TMPDIR", file=folder)
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()


def _temporary_roots() -> list[Path]:
    return [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - the folder below is checked to be ours
