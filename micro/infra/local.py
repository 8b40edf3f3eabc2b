"""All local servers of one state folder together: what `micro infra` works on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from micro import registry
from micro.errors import NotFound, UsageError
from micro.infra.kafka import Kafka
from micro.infra.packages import OURS
from micro.infra.postgres import Postgres
from micro.infra.server import Server, write_private
from micro.infra.valkey import Valkey
from micro.redact import redact_text
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from micro.clock import Clock

FOLDER = "infra"
"""Below the state folder."""
KINDS: tuple[type[Server], ...] = (Postgres, Valkey, Kafka)
NAMES = tuple(kind.name for kind in KINDS)
_PORTS: dict[str, registry.Port] = {"postgres": "store", "kafka": "bus", "redis": "cache"}
"""The key of a profile that each server is for."""


class Local:
    """The servers below one state folder, and the URLs of those that somebody else runs (`use`)."""

    def __init__(self, state: Path, *, clock: Clock, use: Mapping[str, str] | None = None) -> None:
        """`use` says for a server where it is: a URL, a program or folder of this machine, or `micro` for ours.

        Kept for later commands by an `up` that has started all it was asked for.
        """
        self.folder = state / FOLDER
        self._clock = clock
        self._said = dict(use or {})
        self._kept = self._remembered()
        self._use = {name: where for name, where in {**self._kept, **self._said}.items() if where != OURS}

    def server(self, name: str) -> Server:
        """The server of that name. Raises `NotFound`."""
        where = self._use.get(name)
        kind = _known(name)
        return kind(self.folder, clock=self._clock, installed=Path(where) if where else None)

    async def up(self, names: Collection[str], tell: Callable[[str], None]) -> list[str]:
        """Start those of `names` (none: all), and those in `use`, that don't run; the names of those that were started.

        Where one fails, those that this call has started are stopped again. Raises `MicroError`.
        """
        wanted = _wanted({*names, *self._said} if names else ())
        self._refuse_to_move()
        self.find(wanted)
        self._note(set(self._borrowed).difference(wanted))  # they have come to stay
        started = await self._start(wanted, tell)
        if self._use != self._kept:
            write_private(self._used, msgspec.json.encode(self._use))
        return started

    async def borrow(self, names: Collection[str], tell: Callable[[str], None]) -> list[str]:
        """Start those of `names` that don't run, until `give_back`; the names of those that were started.

        Kept on the disk: what somebody borrowed and left behind, killed, is given back by whoever comes next. Raises as
        `up` does.
        """
        wanted = _wanted(names)
        self.find(wanted)
        idle = {name for name in wanted if not self._elsewhere(name) and self.server(name).pid is None}
        self._note({*self._borrowed, *idle})
        return await self._start(wanted, tell)

    async def give_back(self) -> list[str]:
        """Stop what was borrowed and runs; the names. Idempotent."""
        borrowed = self._borrowed
        return await self.down(borrowed) if borrowed else []

    def find(self, names: Collection[str]) -> None:
        """See that the programs of those that don't run are there, and make nothing. Raises as `Server.find` does."""
        for name in _wanted(names):
            if not self._elsewhere(name) and self.server(name).pid is None:
                self.server(name).find()

    def _refuse_to_move(self) -> None:
        for name in self._said:
            if self._use.get(name) != self._kept.get(name) and self.server(name).pid is not None:
                raise UsageError(f"{name} runs already; stop that one first: micro infra down {name}")

    async def _start(self, wanted: Collection[str], tell: Callable[[str], None]) -> list[str]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = [name for name in wanted if not self._elsewhere(name)]
        results = await asyncio.gather(
            *(self.server(name).start(tell) for name in own), return_exceptions=True
        )
        started = [name for name, result in zip(own, results, strict=True) if result is True]
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            await self.down(started)
            raise failed[0]
        return started

    async def down(self, names: Collection[str] = ()) -> list[str]:
        """Stop those of `names` (none: all) that run; their names."""
        wanted = _wanted(names)
        stopped = await asyncio.gather(*(self.server(name).stop() for name in wanted))
        self._note(set(self._borrowed).difference(wanted))
        return [name for name, ran in zip(wanted, stopped, strict=True) if ran]

    def status(self) -> list[dict[str, Any]]:
        """A row for each server: `{server, state, version, url, pid, uptime}`, secrets hidden."""
        return [self._row(name) for name in NAMES]

    def urls(self) -> dict[str, str]:
        """`store`, `bus` and `cache` of a profile, as far as a server is there for them."""
        found: dict[str, str] = {}
        for name, port in _PORTS.items():
            url = self._url(name)
            if url is not None:
                found[port] = url
        return found

    def _url(self, name: str) -> str | None:
        if self._elsewhere(name):
            return self._use[name]
        server = self.server(name)
        record = server.record
        return server.url(record) if record is not None and server.pid is not None else None

    def _row(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = {
            "server": name,
            "state": "stopped",
            "version": None,
            "url": None,
            "pid": None,
            "uptime": None,
        }
        url = self._url(name)
        if url is None:
            return row
        row |= {"state": "elsewhere", "url": redact_text(url)}
        if not self._elsewhere(name):
            server = self.server(name)
            record = server.record
            assert record is not None  # it runs
            uptime = self._clock.now().timestamp() - record.started_at
            row |= {
                "state": "running",
                "version": record.version,
                "pid": server.pid,
                "uptime": max(0.0, uptime),
            }
        return row

    def _elsewhere(self, name: str) -> bool:
        return "://" in self._use.get(name, "")

    def is_own(self, port: str) -> bool:
        """Whether the server for this key of a profile is one of this folder's, not one that `use` names."""
        return not self._elsewhere(server_for(port))

    @property
    def _borrowed(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            return [
                name for name in msgspec.json.decode(self._loan.read_bytes(), type=list[str]) if name in NAMES
            ]
        return []

    def _note(self, borrowed: Collection[str]) -> None:
        if borrowed:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._loan, msgspec.json.encode(sorted(borrowed)))
        else:
            self._loan.unlink(missing_ok=True)

    @property
    def _loan(self) -> Path:
        return self.folder / "borrowed.json"

    @property
    def _used(self) -> Path:
        return self.folder / "use.json"

    def _remembered(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            return msgspec.json.decode(self._used.read_bytes(), type=dict[str, str])
        return {}


def parse_use(text: str) -> tuple[str, str]:
    """`postgres=postgresql://…` as a pair; a path is absolute, and a program found on PATH. Raises `MicroError`."""
    name, separator, where = text.partition("=")
    if not separator or not where:
        raise UsageError(
            f"--use {text}: write SERVER=URL, SERVER=PATH to a program or folder of this machine, or SERVER={OURS}"
        )
    _known(name)
    if where == OURS:
        return name, where
    if "://" not in where:
        return name, shutil.which(where) or str(Path(where).absolute())
    port = _PORTS[name]
    if not registry.is_known(port, where) or not registry.is_server(port, where):
        raise UsageError(f"--use {name}: no server of '{registry.scheme_of(where)}:' can take its place")
    return name, where


def server_for(port: str) -> str:
    """The name of the server for a key of a profile: `postgres` for `store`."""
    return next(name for name, key in _PORTS.items() if key == port)


def _wanted(names: Collection[str]) -> list[str]:
    """All for none. Raises `NotFound`."""
    for name in names:
        _known(name)
    return [name for name in NAMES if not names or name in names]


def _known(name: str) -> type[Server]:
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise NotFound(f"no server '{name}'{did_you_mean(name, NAMES)}")
