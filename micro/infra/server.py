"""One server process: started detached, found again by its lock, stopped cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import socket
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import msgspec

from micro.errors import MicroError
from micro.infra import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from micro.clock import Clock

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
"""Seconds that a server gets to end by itself."""
_POLL = 0.02
LOOPBACK = "127.0.0.1"


class ServerFailed(MicroError):
    """A local server did not start or end as it should; the sentence names its log."""


class Record(msgspec.Struct, kw_only=True):
    """What is kept of a server in `server.json`."""

    ports: list[int]
    password: str
    version: str
    started_at: float = 0.0
    """Seconds since the epoch."""


class Server(ABC):
    """A server of this machine. Its folder holds its data, `log`, `lock` and `server.json` (0600)."""

    name: ClassVar[str]
    version: ClassVar[str]
    ports: ClassVar[int] = 1
    """How many it listens on; the first is the one that clients use."""
    refuses_root: ClassVar[bool] = False
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, folder: Path, *, clock: Clock, installed: Path | None = None) -> None:
        """`folder` is the one of all servers, `.micro/infra`; `installed`, what of this machine to use instead of ours."""
        self.folder = folder / self.name
        self.installed = installed
        self.log = self.folder / "log"
        self._clock = clock
        self._lock = self.folder / "lock"

    @abstractmethod
    def find(self) -> None:
        """See that the programs are there, and make nothing. Raises `MissingExtra`, `ConfigurationError` for `installed`."""

    @abstractmethod
    async def prepare(self, record: Record, tell: Callable[[str], None]) -> None:
        """Make everything that a start needs and isn't there yet."""

    @abstractmethod
    def command(self, record: Record) -> Sequence[str]:
        """What to execute."""

    @abstractmethod
    def url(self, record: Record) -> str:
        """Where clients find it, in the form of a profile."""

    @abstractmethod
    async def answers(self, record: Record) -> bool:
        """Whether it takes clients now."""

    @property
    def origin(self) -> str:
        """What is started: our version, or the place of what is installed."""
        return self.version if self.installed is None else str(self.installed)

    @property
    def record(self) -> Record | None:
        """What is known of it, once it was started."""
        try:
            return msgspec.json.decode((self.folder / "server.json").read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    @property
    def pid(self) -> int | None:
        """The process, where it runs."""
        try:
            held = os.open(self._lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            digits = os.read(held, 32).strip()
            return int(digits) if digits.isdigit() else None
        else:
            return None
        finally:
            os.close(held)

    async def start(self, tell: Callable[[str], None]) -> bool:
        """Start it unless it runs; return when it answers. Whether it was started. Raises `ServerFailed`."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = self._new_record(self.record)
        if await self._ready(record):
            return False
        record = self._new_record(record)
        self._save(record)
        await self.prepare(record, tell)
        tell(f"starting {self.name} {self.origin}")
        await self.run(self.command(record), lock=True)
        if not await self._ready(record):
            tail = b" / ".join(self.log.read_bytes().splitlines()[-3:]).decode(errors="replace")
            raise ServerFailed(f"{self.name} did not start; {self.log} ends with: {tail}")
        record.started_at, record.version = self._clock.now().timestamp(), self.origin
        self._save(record)
        return True

    async def stop(self) -> bool:
        """Ask it to end, and kill it where it doesn't. Whether it ran."""
        pid = self.pid
        if pid is None:
            return False
        for how, patience in ((self.stop_signal, STOP_TIMEOUT), (signal.SIGKILL, START_TIMEOUT)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            if await self._until(lambda: self.pid is None, patience):
                return True
        raise ServerFailed(f"{self.name} (process {pid}) does not end")

    async def run(self, command: Sequence[str], *, lock: bool = False) -> int:
        """Execute `command` as the server's own user would; with the `lock`, as the server itself, which lives on."""
        launcher = [sys.executable, "-I", launch.__file__, str(self._lock) if lock else ""]
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *launcher,
                "ordinary" if self.refuses_root else "any",
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
            ending = asyncio.ensure_future(process.wait())
            try:
                code = await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending  # or it would come to life when nobody looks any more
                raise
        if code == launch.NOT_ORDINARY:
            raise ServerFailed(
                f"{self.name} refuses to run as root, and this system lets root be nobody else; run as an ordinary user"
            )
        return code

    async def _ready(self, record: Record) -> bool:
        """Whether it answers, as soon as it does; not where it doesn't run. Raises `ServerFailed` where it only hangs."""
        deadline = self._clock.monotonic() + START_TIMEOUT
        while self.pid is not None:
            if await self.answers(record):
                return True
            if self._clock.monotonic() >= deadline:
                raise ServerFailed(f"{self.name} (process {self.pid}) does not answer; see {self.log}")
            await self._clock.sleep(_POLL)
        return False

    async def _until(self, condition: Callable[[], bool], patience: float) -> bool:
        deadline = self._clock.monotonic() + patience
        while not condition():
            if self._clock.monotonic() >= deadline:
                return False
            await self._clock.sleep(_POLL)
        return True

    def _new_record(self, known: Record | None) -> Record:
        """The record of before where it still serves: its ports are free, or the server itself has them."""
        if known is not None and (self.pid is not None or all(map(is_free, known.ports))):
            return known
        password = known.password if known is not None else secrets.token_urlsafe(24)
        return Record(ports=free_ports(self.ports), password=password, version=self.origin)

    def _save(self, record: Record) -> None:
        write_private(self.folder / "server.json", msgspec.json.encode(record))


def write_private(path: Path, content: bytes) -> None:
    """Replace a file that only its owner may read."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 # mode at birth
        file.write(content)
    fresh.replace(path)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


async def exchange(port: int, request: bytes, *, size: int) -> bytes:
    """Send a few bytes to a port of loopback; the first `size` bytes of the answer, fewer where there is none."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(request)
                return await reader.readexactly(size)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return b""
