"""`down`, `wait`, `ps`, `health`: the running stack as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from micro.commands.ask import collect, show_items
from micro.commands.render import count, megabytes, span, state
from micro.commands.verb import DataVerb, Verb, add, flat, option, verb
from micro.errors import MicroError, StackNotRunning
from micro.spec.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from micro.console import Console

app = flat()


@verb
class Down(Verb):
    """Stop the running stack.

    Requests and events in hand are finished first. Returns when the process is gone. One that is being started is
    stopped as soon as it is up.

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
        stack = asyncio.run(session.wait_until_up(self.timeout))
        if stack is None:
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
        columns: dict[str, Callable[[dict[str, Any]], str]] = {
            "service": lambda item: str(item["service"]),
            "instance": lambda item: str(item.get("instance") or ""),
            "state": lambda item: state(str(item["state"])),
            "url": lambda item: str(item.get("url") or ""),
            "port": lambda item: str(item.get("port") or ""),
            "pid": lambda item: str(item.get("pid") or ""),
            "uptime": lambda item: span(item.get("uptime")),
            "restarts": lambda item: str(item.get("restarts") or 0),
            "cpu": lambda item: span(item.get("cpu")),
            "memory": lambda item: megabytes(item.get("memory")),
        }
        if not any(item.get("port") for item in items):
            del columns["port"]  # just where instances have one besides the service's
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


def _show_health(console: Console, health: Mapping[str, Any], *, json: bool) -> int:
    services = health.get("services", {})
    if json:
        console.json(health)
    else:
        console.line(f"{state(str(health['status']))}  {count(len(services), 'service')}")
        console.table(["service", "state"], [[name, state(verdict)] for name, verdict in services.items()])
    return 0 if health["status"] == "healthy" else 1


for _name, _cls in {"down": Down, "wait": Wait, "ps": Ps, "health": Health}.items():
    add(app, _name, _cls)
