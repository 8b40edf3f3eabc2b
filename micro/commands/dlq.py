"""`micro dlq`: the events that were given up on, kept in the database of the service that could not handle them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from micro.commands.ask import Change, collect, show_items
from micro.commands.render import count, details, local_time
from micro.commands.values import whole_number
from micro.commands.verb import DataVerb, add, argument, flag, group, option, verb
from micro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from micro.console import Console

app = group(
    "Look after dead letters.\n\nThose are events that a service could not handle and gave up on, kept in its database."
)


@verb
class Chosen(DataVerb):
    """Which dead letters."""

    service: str | None = option("--service", metavar="NAME", help="Only of this service.")
    topic: str | None = option("--topic", metavar="TOPIC", help="Only from this topic.")
    type: str | None = option("--type", metavar="TYPE", help="Only of this type of event.")
    exception: str | None = option("--exception", metavar="NAME", help="Only those that failed with this.")

    def filters(self) -> dict[str, Any]:
        """The arguments of the verb."""
        return {name: getattr(self, name) for name in ("service", "topic", "type", "exception")}


@verb
class List(Chosen):
    """List dead letters, oldest first.

    Example: micro dlq list --service notification
    """

    limit: int = option("--limit", metavar="N", help="At most N; 0 is all.", default="50", parse=whole_number)

    def run(self, console: Console) -> int | None:
        items = collect(self.session(), "dlq.list", **self.filters(), limit=self.limit)
        show_items(console, items, columns=_COLUMNS, json=self.json, nothing="no dead letters")
        return None


@verb
class Inspect(DataVerb):
    """Show one dead letter in full.

    Example: micro dlq inspect 0197c2a4-7e1b-7c8e-9d52-3f5a1c0b2d4e
    """

    id: str = argument("ID", help="The event's id, as `micro dlq list` prints it.")
    service: str | None = option("--service", metavar="NAME", help="Where several services gave up on it.")

    def run(self, console: Console) -> int | None:
        letter = self.session().ask("dlq.inspect", {"id": self.id, "service": self.service})
        if self.json:
            console.json(letter)
        else:
            for line in details(letter):
                console.line(line)
        return None


@verb
class Replay(Chosen):
    """Have dead letters handled again.

    Each comes before the later events of its key. Shows first what it would do; does it once you agree, or with --yes.

    Example: micro dlq replay --all --service notification --yes
    """

    id: str | None = argument("ID", help="One dead letter, by its event's id.", optional=True)
    everything: bool = flag("--all", help="All that the filters choose.")
    yes: bool = flag("--yes", "-y", help="Do it without asking.")

    def run(self, console: Console) -> int | None:
        return _change(self, console, "dlq.replay", "replay")


@verb
class Skip(Replay):
    """Give up on dead letters for good.

    The later events of their keys go on. Shows first what it would do.

    Example: micro dlq skip 0197c2a4-7e1b-7c8e-9d52-3f5a1c0b2d4e
    """

    def run(self, console: Console) -> int | None:
        return _change(self, console, "dlq.skip", "skip")


@verb
class Purge(Replay):
    """Delete dead letters.

    Shows first what it would do.

    Example: micro dlq purge --all --exception ValueError --yes
    """

    def run(self, console: Console) -> int | None:
        return _change(self, console, "dlq.purge", "purge")


def _change(chosen: Replay, console: Console, verb: str, word: str) -> int:
    filters = chosen.filters()
    if (chosen.id is None) != chosen.everything:
        raise UsageError(f"say which: micro dlq {word} ID, or --all with the filters you want")
    change = Change(
        verb=verb,
        args={
            **filters,
            "ids": None if chosen.id is None else [chosen.id],
            "everything": chosen.everything or None,
        },
        sentence=lambda answer: _sentence(word, answer["items"]),
        show=lambda console, plan: show_items(
            console, plan["items"], columns=_COLUMNS, json=False, nothing="no dead letters"
        ),
        nothing=lambda plan: not plan["items"],
        failures=_failures,
        destroys=word != "replay",
    )
    return change.carry_out(console, chosen.session(), yes=chosen.yes, json=chosen.json)


def _sentence(word: str, letters: Sequence[Mapping[str, Any]]) -> str:
    """What is to be done or, where letters have an outcome, was done."""
    counts = Counter(letter["outcome"] for letter in letters if "outcome" in letter)
    told = ", ".join(f"{number} {_OUTCOMES[outcome]}" for outcome, number in counts.items())
    return f"{word} {count(len(letters), 'dead letter')}" + (f": {told}" if told else "")


def _failures(answer: Mapping[str, Any]) -> list[str]:
    failed = (item for item in answer["items"] if item.get("outcome") == "failed")
    return [f"{item['id']} failed again at {item['service']}: {item['detail']}" for item in failed]


_OUTCOMES = {
    "applied": "applied",
    "failed": "failed again",
    "dropped": "given up",
    "gone": "gone meanwhile",
}
_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "id": lambda item: str(item["id"]),
    "service": lambda item: str(item["service"]),
    "topic": lambda item: str(item.get("topic", "")),
    "type": lambda item: str(item.get("type", "")),
    "key": lambda item: str(item.get("key", "")),
    "attempts": lambda item: str(item.get("attempts", "")),
    "exception": lambda item: str(item.get("exception", "")),
    "failed at": lambda item: local_time(item.get("failed_at")),
}

for _name, _cls in {"list": List, "inspect": Inspect, "replay": Replay, "skip": Skip, "purge": Purge}.items():
    add(app, _name, _cls)
