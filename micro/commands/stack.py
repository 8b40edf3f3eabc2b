"""`down`, `wait`, `ps`, `health`, `routes`: the running stack as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from micro.commands.ask import collect, show_items
from micro.commands.render import count, details, span, state
from micro.commands.values import http_method
from micro.commands.verb import DataVerb, Verb, add, argument, flat, option, verb
from micro.errors import MicroError, StackNotRunning, UsageError
from micro.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.console import Console

app = flat()


@verb
class Down(Verb):
    """Stop the running stack.

    Requests and events in hand are finished first. Returns when the process is gone.

    Example: micro down
    """

    timeout: float = option(
        "--timeout",
        metavar="TIME",
        help="How long to wait for it to end.",
        default="60s",
        parse=parse_duration,
    )

    def run(self, console: Console) -> int | None:
        session = self.session()
        try:
            stack = session.running()
        except StackNotRunning:
            console.note("nothing to stop: no stack is running here")
            return None
        stack.ask("stop", {})
        if not session.wait_until_stopped(self.timeout):
            raise MicroError(f"process {stack.pid} is still finishing its work; see: micro logs")
        console.note(f"stopped (process {stack.pid})")
        return None


@verb
class Wait(DataVerb):
    """Wait until every service is healthy.

    Also waits for a stack that is being started. Exits with 1 when it takes longer than the timeout.

    Example: micro wait --timeout 30s
    """

    timeout: float = option(
        "--timeout", metavar="TIME", help="How long to wait.", default="30s", parse=parse_duration
    )

    def run(self, console: Console) -> int | None:
        try:
            health = asyncio.run(self.session().wait_until_ready(self.timeout))
        except StackNotRunning as error:
            raise MicroError(f"waited {span(self.timeout)}, and {error}") from error
        return _show_health(console, health, json=self.json)


@verb
class Ps(DataVerb):
    """List what runs.

    Example: micro ps
    """

    def run(self, console: Console) -> int | None:
        items = collect(self.session(), "ps")
        columns = {
            "service": lambda item: str(item["service"]),
            "state": lambda item: state(str(item["state"])),
            "url": lambda item: str(item.get("url") or ""),
            "pid": lambda item: str(item.get("pid") or ""),
            "uptime": lambda item: span(item.get("uptime")),
            "restarts": lambda item: str(item.get("restarts") or 0),
        }
        show_items(console, items, columns=columns, json=self.json, nothing="nothing runs")
        return None


@verb
class Health(DataVerb):
    """Show how each service is.

    Exits with 0 only when all are healthy.

    Example: micro health
    """

    def run(self, console: Console) -> int | None:
        return _show_health(console, self.session().ask("health", {}), json=self.json)


@verb
class Routes(DataVerb):
    """Show where the gateway sends requests.

    With a method and a path: what that request would meet.

    Example: micro routes GET /tasks
    """

    method: str | None = argument(
        "METHOD", help="For one request: its method …", optional=True, parse=http_method
    )
    path: str | None = argument("PATH", help="… and its path.", optional=True)

    def run(self, console: Console) -> int | None:
        if self.method is None:
            show_items(
                console,
                collect(self.session(), "routes"),
                columns=_ROUTE,
                json=self.json,
                nothing="no routes",
            )
            return None
        if self.path is None:
            raise UsageError("a path is missing; for example: micro routes GET /tasks")
        met = self.session().ask("routes", {"method": self.method, "path": self.path})
        if self.json:
            console.json(met)
        else:
            for line in details(met):
                console.line(line)
        return None


_ROUTE = {
    "path": lambda item: str(item["path"]),
    "methods": lambda item: ", ".join(item.get("methods") or ["all"]),
    "service": lambda item: str(item["service"]),
    "auth": lambda item: str(item.get("auth") or ""),
    "timeout": lambda item: span(item.get("timeout")),
    "rate limit": lambda item: str(item.get("rate_limit") or ""),
}


def _show_health(console: Console, health: Mapping[str, Any], *, json: bool) -> int:
    services = health.get("services", {})
    if json:
        console.json(health)
    else:
        console.line(f"{state(str(health['status']))}  {count(len(services), 'service')}")
        console.table(["service", "state"], [[name, state(verdict)] for name, verdict in services.items()])
    return 0 if health["status"] == "healthy" else 1


for _name, _cls in {"down": Down, "wait": Wait, "ps": Ps, "health": Health, "routes": Routes}.items():
    add(app, _name, _cls)
