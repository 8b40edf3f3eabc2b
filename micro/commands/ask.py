"""What verbs share: print a list, and change something only after showing what would change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from micro.console import style
from micro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from micro.console import Console
    from micro.runtime.session import Session


def collect(session: Session, verb: str, **args: Any) -> list[dict[str, Any]]:
    """All items of an answer, whether they came one by one or at its end."""
    items: list[dict[str, Any]] = []
    end = session.ask(verb, args, each=items.append)
    return items or list(end.get("items", ()))


def show_items(
    console: Console,
    items: Sequence[dict[str, Any]],
    *,
    columns: Mapping[str, Callable[[dict[str, Any]], str]],
    json: bool,
    nothing: str,
) -> None:
    """A table, or `{"items": […]}`; `nothing` is said on stderr where there is no row."""
    if json:
        console.json({"items": items})
    elif items:
        console.table(list(columns), [[cell(item) for cell in columns.values()] for item in items])
    else:
        console.note(nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A verb that changes something, and what its plan looks like.

    The plan is the same verb with `dry_run`: it answers what it would do and does nothing.
    """

    verb: str
    args: Mapping[str, Any]
    sentence: Callable[[Mapping[str, Any]], str]
    """From an answer, what is done: "replay 3 dead letters"."""
    nothing: Callable[[Mapping[str, Any]], bool]
    """From a plan, whether there is nothing to do."""
    failures: Callable[[Mapping[str, Any]], Sequence[str]]
    """From an answer, a sentence for each thing that did not go well."""
    show: Callable[[Console, Mapping[str, Any]], None] | None = None
    """Prints the plan's particulars."""
    destroys: bool = False
    """What it takes away can't be had back: without a terminal to ask on, --yes is required."""

    def carry_out(self, console: Console, session: Session, *, yes: bool, json: bool) -> int:
        """Show the plan; do it once the person agrees, or with `yes`. The exit code: 1 where something failed."""
        plan = self._ask(session, dry_run=True)
        sentence = self.sentence(plan)
        if self.show is not None and not json:
            self.show(console, plan)
        agreed = not self.nothing(plan) and (yes or console.confirm(f"{sentence}?"))
        if agreed is None and self.destroys:
            raise UsageError(f"this would {sentence}; to do it without being asked, add --yes")
        done = self._ask(session, dry_run=False) if agreed else plan
        if json:
            console.json({**done, "done": bool(agreed)})
        elif agreed:
            console.note(f"done: {self.sentence(done)}")
        elif agreed is None:
            console.note(f"nothing done; with --yes: {sentence}")
        elif self.show is None and self.nothing(plan):
            console.note(f"nothing to do: {sentence}")
        failures = self.failures(done)
        for sentence in failures:
            console.note(style(sentence, "yellow"))
        return 1 if failures else 0

    def _ask(self, session: Session, *, dry_run: bool) -> dict[str, Any]:
        items: list[dict[str, Any]] = []
        end = session.ask(self.verb, {**self.args, "dry_run": dry_run}, each=items.append, timeout=None)
        return {**end, "items": items} if items else end
