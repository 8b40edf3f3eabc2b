"""`micro events`: follow, list, publish, trace and replay what the services told each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.commands.ask import Change, collect, show_items
from micro.commands.render import count, event_line, local_time, trace_lines
from micro.commands.values import json_object, whole_number
from micro.commands.verb import REQUIRED, DataVerb, add, argument, flag, group, option, verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from micro.console import Console

app = group("Follow, list, publish, trace and replay events.")

_WHEN = "10m, 2h, 7d, a date, or an RFC 3339 time"


@verb
class Filtered(DataVerb):
    """Which events."""

    topic: str | None = option("--topic", metavar="TOPIC", help="Only of this topic.")
    type: str | None = option("--type", metavar="TYPE", help="Only of this type.")
    key: str | None = option("--key", metavar="KEY", help="Only with this key.")
    correlation: str | None = option(
        "--correlation", metavar="ID", help="Only what one outside request led to."
    )
    since: str | None = option("--since", metavar="WHEN", help=f"From then on: {_WHEN}.")

    def filters(self) -> dict[str, Any]:
        """The arguments of the verb, what was not said left out."""
        names = ("topic", "type", "key", "correlation", "since")
        return {name: getattr(self, name) for name in names}

    def printer(self, console: Console) -> Callable[[dict[str, Any]], None]:
        """Prints one event a line."""
        if self.json:
            return console.json
        return lambda item: console.line(event_line(item, short=console.interactive))


@verb
class Tail(Filtered):
    """Follow events as they are published, one a line.

    Example: micro events tail --topic task.events --since 1h
    """

    follow: bool = flag("--follow/--no-follow", help="Go on, or stop at the end.", default=True)
    limit: int = option(
        "--limit", metavar="N", help="Stop after N; 0 never.", default="0", parse=whole_number
    )

    def run(self, console: Console) -> int | None:
        verb = "events.tail" if self.follow else "events.list"
        args = {**self.filters(), "limit": self.limit}
        self.session().ask(verb, args, each=self.printer(console), timeout=None)
        return None


@verb
class List(Filtered):
    """List past events, oldest first.

    Example: micro events list --type TaskCompletedEvent --since 1h --json
    """

    limit: int = option("--limit", metavar="N", help="At most N; 0 is all.", default="50", parse=whole_number)

    def run(self, console: Console) -> int | None:
        items = collect(self.session(), "events.list", **self.filters(), limit=self.limit)
        if self.json:
            console.json({"items": items})
        elif not items:
            console.note("no events")
        else:
            show = self.printer(console)
            for item in items:
                show(item)
        return None


@verb
class Publish(DataVerb):
    """Publish one event by hand.

    Best effort: it has no state to commit with.

    Example: micro events publish task.events TaskCreatedEvent --key 42 --data '{"title": "Milk"}'
    """

    topic: str = argument("TOPIC", help="Where to.")
    type: str = argument("TYPE", help="The event's type.")
    key: str = option("--key", metavar="KEY", help="Events of one key keep their order.", default=REQUIRED)
    data: dict[str, Any] = option(
        "--data",
        metavar="JSON",
        help="A JSON object, @FILE, or - for stdin.",
        default="{}",
        parse=json_object,
    )

    def run(self, console: Console) -> int | None:
        args = {"topic": self.topic, "type": self.type, "key": self.key, "data": self.data}
        item = self.session().ask("events.publish", args)
        if self.json:
            console.json(item)
        else:
            console.line(event_line(item, short=console.interactive))
        return None


@verb
class Trace(DataVerb):
    """Draw what one request or event led to.

    The tree goes from the request to the last handler. ID is a correlation id, a request id or an event id.

    Example: micro events trace 0197c2a4-7e1b-7c8e-9d52-3f5a1c0b2d4e
    """

    id: str = argument("ID", help="A correlation, request or event id.")
    since: str = option("--since", metavar="WHEN", help=f"Look back no further: {_WHEN}.", default="1h")

    def run(self, console: Console) -> int | None:
        trace = self.session().ask("events.trace", {"id": self.id, "since": self.since})
        if self.json:
            console.json(trace)
        elif trace["roots"]:
            for line in trace_lines(trace):
                console.line(line)
        else:
            console.note(f"nothing is known of {self.id} since {self.since}; look further back with --since")
        return 0 if trace["roots"] else 1


@verb
class Replay(DataVerb):
    """Apply past events to one service again.

    They go through its normal handlers; live positions don't move. Shows first what it would do; does it once you
    agree, or with --yes.

    Example: micro events replay --service notification --topic task.events --since 2h
    """

    service: str = option(
        "--service", metavar="NAME", help="The service that handles them again.", default=REQUIRED
    )
    topic: str | None = option("--topic", metavar="TOPIC", help="Only of this topic.")
    type: str | None = option("--type", metavar="TYPE", help="Only of this type.")
    key: str | None = option("--key", metavar="KEY", help="Only with this key.")
    since: str | None = option("--since", metavar="WHEN", help=f"From then on: {_WHEN}.")
    until: str | None = option("--until", metavar="WHEN", help="Up to then.")
    yes: bool = flag("--yes", "-y", help="Do it without asking.")

    def run(self, console: Console) -> int | None:
        names = ("service", "topic", "type", "key", "since", "until")
        change = Change(
            verb="events.replay",
            args={name: getattr(self, name) for name in names},
            sentence=_replay_text,
            nothing=lambda plan: not plan["events"],
            failures=_failures,
        )
        return change.carry_out(console, self.session(), yes=self.yes, json=self.json)


def _failures(answer: Mapping[str, Any]) -> list[str]:
    parked = answer.get("parked", 0)
    return [f"{count(parked, 'event')} failed and will be tried again; see: micro dlq list"] if parked else []


def _replay_text(plan: Mapping[str, Any]) -> str:
    return f"apply {count(plan['events'], 'event')} to {plan['service']} again"


@verb
class Stats(DataVerb):
    """Show what waits where.

    Per topic, per subscriber and in each service's outbox.

    Example: micro events stats
    """

    def run(self, console: Console) -> int | None:
        stats = self.session().ask("events.stats", {})
        if self.json:
            console.json(stats)
            return None
        for number, (title, columns) in enumerate(_STATS.items()):
            if number:
                console.line()
            show_items(console, stats.get(title, []), columns=columns, json=False, nothing=f"no {title}")
        return None


_STATS: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "topics": {
        "topic": lambda item: str(item["topic"]),
        "events": lambda item: str(item.get("events", "")),
        "partitions": lambda item: str(item.get("partitions", "")),
        "newest": lambda item: local_time(item.get("newest")),
    },
    "subscribers": {
        "subscriber": lambda item: str(item["subscriber"]),
        "topic": lambda item: str(item.get("topic", "")),
        "behind": lambda item: str(item.get("lag", "")),
        "parked": lambda item: str(item.get("parked", "")),
        "dead": lambda item: str(item.get("dead", "")),
    },
    "outboxes": {
        "outbox of": lambda item: str(item["service"]),
        "waiting": lambda item: str(item.get("waiting", "")),
        "oldest": lambda item: local_time(item.get("oldest")),
    },
}

for _name, _cls in {
    "tail": Tail,
    "list": List,
    "publish": Publish,
    "trace": Trace,
    "replay": Replay,
    "stats": Stats,
}.items():
    add(app, _name, _cls)
