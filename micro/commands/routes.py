"""`routes`: where the gateway sends requests, what one of them would meet, and the configuration read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.commands.ask import collect, show_items
from micro.commands.render import details, span, state
from micro.commands.values import head_fields, http_method
from micro.commands.verb import DataVerb, add, argument, flat, option, options, verb
from micro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from micro.console import Console

app = flat()

_RELOAD = "RELOAD"


@verb
class Routes(DataVerb):
    """Show where the gateway sends requests.

    With a method and a path: what that request would meet, policy by policy; nothing is sent. With reload: read
    micro.toml again and put its routes and rules in force, all of them or, where one is wrong, none.

    Example: micro routes GET /tasks
    """

    method: str | None = argument(
        "METHOD", help="For one request: its method …; or reload.", optional=True, parse=http_method
    )
    path: str | None = argument(
        "PATH", help="… and its path, with a query where that matters.", optional=True
    )
    host: str | None = option("--host", metavar="NAME", help="The request's host.")
    header: tuple[str, ...] = options(
        "--header", "-H", metavar="'NAME: VALUE'", help="A field of the request's head."
    )

    def run(self, console: Console) -> int | None:
        if self.path is None and (self.host or self.header):
            raise UsageError("--host and --header are about a request; for example: micro routes GET /tasks")
        if self.method is None:
            self._list(console)
        elif self.path is not None:
            self._explain(console)
        elif self.method == _RELOAD:
            self._reload(console)
        else:
            raise UsageError("a path is missing; for example: micro routes GET /tasks")
        return None

    def _list(self, console: Console) -> None:
        items = collect(self.session(), "routes")
        columns = {
            name: cell for name, cell in _ROUTE.items() if name not in _SELDOM or any(map(cell, items))
        }
        show_items(console, items, columns=columns, json=self.json, nothing="no routes")
        if not self.json:
            rows = list(_instances(items))
            if rows:
                console.line("")
                console.table(["service", "instance", "state", "active", "reason"], rows)

    def _explain(self, console: Console) -> None:
        headers = [*([("host", self.host)] if self.host else ()), *head_fields(self.header)]
        asked = {"method": self.method, "path": self.path, "headers": headers or None}
        met = self.session().ask("routes", asked)
        if self.json:
            console.json(met)
            return
        for line in details(_briefly(met)):
            console.line(line)
        for service, *rest in _instances([met["route"]] if "route" in met else ()):
            console.line("  ".join((service, *rest)).rstrip())

    def _reload(self, console: Console) -> None:
        done = self.session().ask("routes.reload", {})
        if self.json:
            console.json(done)
            return
        for note in done["notes"] or ["nothing has changed since micro.toml was last read"]:
            console.note(note)


def _when(item: Mapping[str, Any]) -> str:
    """What a route takes requests by, besides path and method."""
    parts = ["this path only"] if item.get("exact") else []
    parts += [f"host {item['host']}"] if item.get("host") else []
    parts += [f"{name}: {value}" for name, value in item.get("headers", {}).items()]
    parts += [f"?{name}={value}" for name, value in item.get("query", {}).items()]
    return ", ".join(parts)


def _limits(item: Mapping[str, Any]) -> str:
    return ", ".join(
        (*([item["rate_limit"]] if item.get("rate_limit") else ()), *item.get("rate_limits", ()))
    )


_ROUTE = {
    "path": lambda item: str(item["path"]),
    "methods": lambda item: ", ".join(item.get("methods") or ["all"]),
    "when": _when,
    "service": lambda item: str(item["service"]),
    "sent as": lambda item: str(item.get("rewrite") or ""),
    "auth": lambda item: str(item.get("auth") or ""),
    "timeout": lambda item: span(item.get("timeout")),
    "rate limit": _limits,
}
_SELDOM = frozenset({"when", "sent as"})
"""Columns that are there where a row has something in them."""


def _instances(items: Sequence[Mapping[str, Any]]) -> Iterable[list[str]]:
    """A row for each instance on the network, once for each service."""
    services = {str(item["service"]): item.get("instances", ()) for item in items}
    for service, instances in services.items():
        for each in instances:
            reason = str(each.get("reason") or "")
            yield [
                service,
                str(each["instance"]),
                state(str(each["state"])),
                str(each.get("active", "")),
                reason,
            ]


def _briefly(met: Mapping[str, Any]) -> dict[str, Any]:
    """An explanation for people: the route on one line, and nothing that says nothing."""
    brief = dict(met)
    route = brief.get("route")
    if route is not None:
        methods = ", ".join(route.get("methods") or ())
        when = _when(route)
        brief["route"] = " ".join(
            (*([methods] if methods else ()), route["path"], *([f"({when})"] if when else ()))
        )
        brief["timeout"] = span(brief["timeout"])
        if brief["target"] == brief["path"].partition("?")[0]:
            del brief["target"]
    return {name: value for name, value in brief.items() if value not in (None, [])}


add(app, "routes", Routes)
