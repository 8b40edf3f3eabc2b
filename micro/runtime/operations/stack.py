"""`micro ps`, `health`, `wait`, `routes`, `down` and the reload: the stack as a whole."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.clock import rfc3339
from micro.errors import MicroError, StackNotRunning, UsageError
from micro.web.health import verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from micro.runtime.system import System


@dataclass(frozen=True, kw_only=True)
class Live:
    """What only a running stack has."""

    urls: Mapping[str, str]
    """Base URLs of the gateway and the services' own ports, by name."""
    since: float
    """The clock's monotonic time at which it was ready."""
    stop: Callable[[], None]
    reload: Callable[[Collection[str]], Awaitable[dict[str, Any]]]
    reload_routes: Callable[[], Awaitable[dict[str, Any]]]


class StackOperations:
    """What runs, how it is, and what the gateway does with requests."""

    def __init__(self, system: System, live: Live | None) -> None:
        self._system = system
        self._clock = system.shared.clock
        self._live = live

    async def ps(self) -> dict[str, Any]:
        """What runs: the gateway and every instance of every service."""
        live = self._running()
        row = {"service": "gateway", "state": "healthy", "uptime": self._clock.monotonic() - live.since}
        items = [self._here("gateway", row | {"restarts": 0}, live)]
        for name in self._system.shared.stack.names:
            remote = self._system.remotes.get(name)
            if remote is None:
                items.append(self._here(name, self._app(name), live))
            else:
                items += [{"service": name, **row, **usage(row["pid"])} for row in remote.rows()]
        return {"items": items}

    async def health(self) -> dict[str, Any]:
        """As `GET /health` of the gateway."""
        self._running()
        verdicts = dict(self._system.board.read())
        return {"status": verdict(verdicts), "timestamp": rfc3339(self._clock.now()), "services": verdicts}

    async def wait(self, *, timeout: float = 30.0) -> dict[str, Any]:
        """The health once every service is well, or as it is after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._system.board.healthy()
        ready = all(each == "healthy" for each in self._system.board.verdicts.values())
        return {"ready": ready, **await self.health()}

    async def routes(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        headers: Sequence[Sequence[str]] = (),
    ) -> dict[str, Any]:
        """The table of routes; or what the request of this method and path would meet, with these fields in its head."""
        if (method is None) != (path is None):
            raise UsageError("give both a method and a path, or neither")
        if method is None or path is None:
            return {"items": self._system.gateway.table()}
        return self._system.gateway.explain(method, path, headers=[(name, value) for name, value in headers])

    async def reload_routes(self) -> dict[str, Any]:
        """Read the configuration again and put the gateway's part of it in force."""
        return await self._running().reload_routes()

    async def reload(self, *, service: str | None = None) -> dict[str, Any]:
        """Load the code of one service, or of all, anew."""
        names = (
            list(self._system.services) if service is None else [self._system.hosted(service).service.name]
        )
        return await self._running().reload(names)

    async def restart(self, *, service: str) -> dict[str, Any]:
        """Put a fresh instance of the service in the place of the one that runs."""
        live, remote = self._running(), self._system.remotes.get(service)
        if service == "gateway":
            raise UsageError(
                "the gateway of a stack in one process restarts with it: micro down, then micro up"
            )
        if remote is None:
            answer = await live.reload([self._system.hosted(service).service.name])
            if answer["errors"]:
                raise MicroError(answer["errors"][0])
        elif remote.program is not None:
            await remote.program.restart()
        else:
            raise UsageError(f"{service} is not run by micro: it is given by url =")
        return {"service": service, "instances": [f"{service}-1"]}

    async def scale(self, *, service: str, count: int) -> dict[str, Any]:
        """Refused: one process has one instance of each."""
        self._running()
        raise UsageError(
            'one process runs one instance of each service; for more, use a profile with runner = "multi"'
        )

    async def stop(self) -> dict[str, Any]:
        """Ask the stack to stop. It drains after this was answered."""
        asyncio.get_running_loop().call_soon(self._running().stop)
        return {"pid": os.getpid()}

    def _app(self, name: str) -> dict[str, Any]:
        hosted = self._system.services[name]
        return {
            "service": name,
            "state": self._system.board.verdicts[name],
            "uptime": self._clock.monotonic() - hosted.started,
            "restarts": hosted.instance.restarts,
            "reloads": hosted.reloads,
        }

    def _here(self, name: str, row: dict[str, Any], live: Live) -> dict[str, Any]:
        """A row with what all that runs in this process has in common."""
        process = {"pid": os.getpid(), "memory": _resident_bytes(), "cpu": sum(os.times()[:2])}
        return {**row, "instance": f"{name}-1", "url": live.urls.get(name), **process}

    def _running(self) -> Live:
        if self._live is None:
            raise StackNotRunning("no stack is running here; start one with: micro up")
        return self._live


def _resident_bytes() -> int:
    """Memory of this process: now on Linux, at its highest elsewhere."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # noqa: PLC0415 - loaded where it is needed

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def usage(pid: int | None) -> dict[str, Any]:
    """`memory` (bytes) and `cpu` (seconds) of another process, by proc(5); `None` where the system has no such files."""
    with suppress(OSError):
        folder = Path(f"/proc/{pid}")
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        pages = int((folder / "statm").read_text().split()[1])
        return {
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
            "cpu": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        }
    return {"memory": None, "cpu": None}
