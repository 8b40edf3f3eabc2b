"""`micro ps`, `health`, `wait`, `routes`, `down` and the reload: the stack as a whole."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.clock import rfc3339
from micro.errors import NotFound, StackNotRunning, UsageError
from micro.suggest import did_you_mean
from micro.web.health import verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

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
        """What runs: the gateway and every service, all in one process here."""
        live = self._running()
        board = self._system.board
        now = self._clock.monotonic()
        rows = [{"service": "gateway", "state": "healthy", "uptime": now - live.since, "restarts": 0}]
        rows += [
            {
                "service": name,
                "state": board.verdicts[name],
                "uptime": now - hosted.started,
                "restarts": hosted.instance.restarts,
                "reloads": hosted.reloads,
            }
            for name, hosted in self._system.services.items()
        ]
        process = {"pid": os.getpid(), "memory": _resident_bytes(), "cpu": sum(os.times()[:2])}
        return {
            "items": [
                {
                    **row,
                    "instance": f"{row['service']}-1",
                    "url": live.urls.get(str(row["service"])),
                    **process,
                }
                for row in rows
            ]
        }

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
        health = await self.health()
        return {"ready": health["status"] == "healthy", **health}

    async def routes(self, *, method: str | None = None, path: str | None = None) -> dict[str, Any]:
        """The table of routes; or what the request of this method and path would meet."""
        if (method is None) != (path is None):
            raise UsageError("give both a method and a path, or neither")
        if method is None or path is None:
            return {"items": self._system.gateway.table()}
        return self._system.gateway.explain(method, path)

    async def reload_routes(self) -> dict[str, Any]:
        """Read the configuration again and put the gateway's part of it in force."""
        return await self._running().reload_routes()

    async def reload(self, *, service: str | None = None) -> dict[str, Any]:
        """Load the code of one service, or of all, anew."""
        services = self._system.services
        if service is not None and service not in services:
            raise NotFound(f"there is no service '{service}'{did_you_mean(service, services)}")
        return await self._running().reload([service] if service else list(services))

    async def stop(self) -> dict[str, Any]:
        """Ask the stack to stop. It drains after this was answered."""
        asyncio.get_running_loop().call_soon(self._running().stop)
        return {"pid": os.getpid()}

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
