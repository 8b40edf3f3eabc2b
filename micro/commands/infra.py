"""`micro infra`: real servers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from micro.commands.ask import show_items
from micro.commands.render import span, state
from micro.commands.verb import DataVerb, Verb, add, argument, arguments, group, options, verb
from micro.errors import StackNotRunning, StackRunning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.console import Console
    from micro.infra.local import Local
    from micro.runtime.client import RunningStack

app = group(
    "Run PostgreSQL, Redis and Kafka on this machine.\n\nFrom Python packages alone: no Docker, no Java, no root."
)


@verb
class Up(DataVerb):
    """Start servers, and show where they are.

    All of them unless named. They go on when the command has ended, until: micro infra down

    Example: micro infra up postgres kafka
    """

    servers: tuple[str, ...] = arguments("SERVER", help="postgres, redis, kafka.")
    use: tuple[str, ...] = options(
        "--use",
        metavar="SERVER=WHERE",
        help="Use this one: a URL, a program or folder of this machine, or micro for ours again.",
    )

    def run(self, console: Console) -> int | None:
        from micro.infra.local import parse_use  # noqa: PLC0415 # loaded when first used

        local = _local(self, dict(map(parse_use, self.use)))
        asyncio.run(local.up(self.servers, console.note))
        _show(console, local, json=self.json)
        return None


@verb
class Down(Verb):
    """Stop servers; what they hold is kept.

    All of them unless named. None that the stack in this folder works with: stop that first.

    Example: micro infra down
    """

    servers: tuple[str, ...] = arguments("SERVER", help="postgres, redis, kafka.")

    def run(self, console: Console) -> int | None:
        local = _local(self)
        with contextlib.suppress(StackNotRunning):
            self._refuse_in_use(local, self.session().running())
        stopped = asyncio.run(local.down(self.servers))
        console.note(f"stopped {', '.join(stopped)}" if stopped else "nothing to stop: no server runs here")
        return None

    def _refuse_in_use(self, local: Local, stack: RunningStack) -> None:
        from micro.infra.local import server_for  # noqa: PLC0415 # loaded when first used

        used = [server_for(port) for port in stack.infra if local.is_own(port)]
        refused = [name for name in used if not self.servers or name in self.servers]
        if refused:
            raise StackRunning(
                f"the stack that runs here (process {stack.pid}) works with {', '.join(refused)}; stop it first: micro down"
            )


@verb
class Status(DataVerb):
    """Show which servers run, and where.

    Example: micro infra status
    """

    def run(self, console: Console) -> int | None:
        _show(console, _local(self), json=self.json)
        return None


@verb
class Logs(Verb):
    """Print what a server has written.

    Example: micro infra logs kafka
    """

    server: str = argument("SERVER", help="postgres, redis or kafka.")

    def run(self, console: Console) -> int | None:
        log = _local(self).server(self.server).log
        if not log.exists():
            console.note(f"{self.server} was never started here")
            return None
        with log.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                console.line(line.rstrip("\n"))
        return None


def _local(command: Verb, use: Mapping[str, str] | None = None) -> Local:
    from micro.infra.local import Local  # noqa: PLC0415 # loaded when first used

    session = command.session()
    return Local(session.state, clock=session.clock, use=use)


def _show(console: Console, local: Local, *, json: bool) -> None:
    columns = {
        "server": lambda item: str(item["server"]),
        "state": lambda item: state(str(item["state"])),
        "version": lambda item: str(item["version"] or ""),
        "url": lambda item: str(item["url"] or ""),
        "pid": lambda item: str(item["pid"] or ""),
        "uptime": lambda item: span(item["uptime"]) if item["uptime"] is not None else "",
    }
    show_items(console, local.status(), columns=columns, json=json, nothing="")


for name, cls in {"up": Up, "down": Down, "status": Status, "logs": Logs}.items():
    add(app, name, cls)
