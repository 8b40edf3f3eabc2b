"""`micro profile`: which profiles there are, and what one comes to."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from micro.commands.ask import show_items
from micro.commands.verb import DataVerb, add, argument, group, verb
from micro.console import style
from micro.errors import UsageError
from micro.redact import redact_text

if TYPE_CHECKING:
    from micro.console import Console

app = group("Show the profiles and where their values come from.")


@verb
class List(DataVerb):
    """List the profiles there are.

    Example: micro profile list
    """

    def run(self, console: Console) -> int | None:
        keys = ("runner", "store", "bus", "cache")
        items = [
            {"name": name, **{key: redact_text(str(table.get(key, ""))) for key in keys}}
            for name, table in self.session().config.profiles.items()
        ]
        columns = {key: (lambda item, key=key: str(item[key])) for key in ("name", *keys)}
        show_items(console, items, columns=columns, json=self.json, nothing="no profiles")
        return None


@verb
class Show(DataVerb):
    """Print every effective value and its origin.

    Secrets are hidden.

    Example: micro profile show prod
    """

    name: str | None = argument("NAME", help="The profile; the one in effect unless said.", optional=True)

    def run(self, console: Console) -> int | None:
        if self.name and (self.profile or self.dev or self.prod):
            raise UsageError("one profile at a time: name it once")
        session = self.session()
        config = session.config
        profile = config.profile(self.name) if self.name else session.profile
        if profile.local:
            from micro.infra.local import Local  # noqa: PLC0415 - for profiles that want local servers

            profile = profile.located(Local(session.state, clock=session.clock).urls())
        items = [asdict(setting) for setting in config.describe(profile)]
        columns = {
            "key": lambda item: item["key"],
            "value": lambda item: style(item["value"], "bold"),
            "origin": lambda item: style(item["origin"], "dim"),
        }
        if self.json:
            console.json({"profile": profile.name, "items": items})
        else:
            show_items(console, items, columns=columns, json=False, nothing="no settings")
        return None


add(app, "list", List)
add(app, "show", Show)
