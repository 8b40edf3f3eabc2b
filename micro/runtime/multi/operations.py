"""`micro ps`, `health`, `wait`, `routes`, `restart`, `scale`, `down` of a stack in many processes."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from micro.clock import rfc3339
from micro.errors import CallError, UsageError
from micro.runtime.health import HEALTHY, STARTING
from micro.runtime.multi.supervisor import GATEWAY
from micro.runtime.operations.stack import usage
from micro.web.health import verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from micro.clock import Clock
    from micro.runtime.control import Verb
    from micro.runtime.multi.children import Child
    from micro.runtime.multi.supervisor import Supervisor

_log = logging.getLogger("micro.runtime.operations")

_POLL = 0.05
_PROCESS = {"pid": None, "port": None, "restarts": 0, "uptime": None, "cpu": None, "memory": None}


class SupervisedOperations:
    """The verbs that the supervisor does itself, or has a gateway worker do."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        urls: Mapping[str, str],
        elsewhere: Mapping[str, Sequence[str]],
        stop: Callable[[], None],
        clock: Clock,
    ) -> None:
        """`urls`: public base URLs by name; `elsewhere`: those of the instances of services that micro does not run."""
        self._supervisor = supervisor
        self._urls = urls
        self._elsewhere = elsewhere
        self._stop = stop
        self._clock = clock

    def verbs(self) -> dict[str, Verb]:
        """All of them, for a control socket."""
        return {
            "ps": self.ps,
            "health": self.health,
            "wait": self.wait,
            "routes": self.routes,
            "routes.reload": self.reload_routes,
            "restart": self.restart,
            "scale": self.scale,
            "reload": self.reload,
            "stop": self.stop,
        }

    async def ps(self) -> dict[str, Any]:
        """What runs: every gateway worker and every instance of every service."""
        items = [self._row(child) for child in self._supervisor.children]
        verdicts = self.verdicts()
        for name, urls in self._elsewhere.items():
            items += [
                {
                    **_PROCESS,
                    "service": name,
                    "instance": url.partition("://")[2],
                    "url": url,
                    "state": verdicts[name],
                }
                for url in urls
            ]
        return {"items": items}

    def verdicts(self) -> dict[str, str]:
        """What is said of each service."""
        groups, seen = self._supervisor.groups, self._seen()
        verdicts = {name: group.verdict for name, group in groups.items() if name != GATEWAY}
        return verdicts | {name: seen.get(name, STARTING) for name in self._elsewhere}

    async def health(self) -> dict[str, Any]:
        """As `GET /health` of the gateway, with what a worker sees besides services: a cache that is out of reach."""
        verdicts = self.verdicts()
        verdicts |= {name: state for name, state in self._seen().items() if name not in verdicts}
        return {"status": verdict(verdicts), "timestamp": rfc3339(self._clock.now()), "services": verdicts}

    async def wait(self, *, timeout: float = 30.0) -> dict[str, Any]:
        """The health once every service is well, or as it is after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._all_well():
                    await self._clock.sleep(_POLL)
        return {"ready": self._all_well(), **await self.health()}

    async def routes(self, **args: Any) -> dict[str, Any]:
        """The table of routes, or what one request would meet, as a gateway worker has it."""
        return await self._gateway().ask("routes", **args)

    async def reload_routes(self) -> dict[str, Any]:
        """Have every process read the configuration again; what the first gateway worker says of it."""
        workers = [child for child in self._workers if child.url is not None]
        answers = await asyncio.gather(*(worker.ask("routes.reload", timeout=30.0) for worker in workers))
        services = [child for child in self._supervisor.children if child.url and child not in workers]
        follow = (child.ask("routes.reload", timeout=30.0) for child in services)
        for child, outcome in zip(
            services, await asyncio.gather(*follow, return_exceptions=True), strict=True
        ):
            if isinstance(outcome, BaseException):
                _log.warning("%s did not read the settings again: %s", child.name, outcome)
        return answers[0] if answers else await self._gateway().ask("routes.reload")

    async def restart(self, *, service: str) -> dict[str, Any]:
        """Replace the instances of a service one after the other, each when its successor is ready."""
        return {"service": service, "instances": await self._supervisor.restart(service)}

    async def scale(self, *, service: str, count: int) -> dict[str, Any]:
        """Have that many instances of a service."""
        return {"service": service, "instances": await self._supervisor.scale(service, count)}

    async def reload(self, **args: Any) -> dict[str, Any]:
        """Refused: what runs in processes of its own is restarted."""
        raise UsageError(
            "code is loaded again by a restart where each instance is a process: micro restart SERVICE"
        )

    async def stop(self) -> dict[str, Any]:
        """Ask the stack to stop. It drains after this was answered."""
        asyncio.get_running_loop().call_soon(self._stop)
        return {"pid": os.getpid()}

    @property
    def _workers(self) -> list[Child]:
        gateway = self._supervisor.groups.get(GATEWAY)
        return gateway.children if gateway is not None else []

    def _seen(self) -> dict[str, str]:
        """The latest that the gateway workers have told, where they differ the worst."""
        seen: dict[str, str] = {}
        for child in self._workers:
            told = child.report.get("services") or {}
            seen |= {name: state for name, state in told.items() if seen.get(name, HEALTHY) == HEALTHY}
        return seen

    def _all_well(self) -> bool:
        return all(each == HEALTHY for each in self.verdicts().values())

    def _gateway(self) -> Child:
        for child in self._workers:
            if child.url is not None:
                return child
        raise CallError("no gateway worker is ready; see: micro ps")

    def _row(self, child: Child) -> dict[str, Any]:
        pid = child.pid and child.report.get("pid", child.pid)  # of the program that it looks after
        measured = {name: value for name, value in usage(pid).items() if value is not None}
        return {
            "service": child.service,
            "instance": child.name,
            "url": self._urls.get(child.service),
            "port": child.port,
            "pid": pid,
            "state": child.state,
            "restarts": child.restarts,
            "reloads": 0,
            "uptime": self._clock.monotonic() - child.began if child.pid else None,
            "cpu": measured.get("cpu", child.report.get("cpu")),
            "memory": measured.get("memory", child.report.get("memory")),
        }
