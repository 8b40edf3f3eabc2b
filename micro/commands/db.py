"""`micro db`: each service's own database."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from micro.commands.ask import collect, show_items
from micro.commands.render import count, local_time, state
from micro.commands.verb import DataVerb, add, argument, flag, group, option, verb
from micro.errors import MicroError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from micro.console import Console
    from micro.runtime.session import Session

app = group("Migrate the databases and look into them.")


@verb
class Migrate(DataVerb):
    """Apply the migrations that are pending, each once.

    On a server, the databases that are missing are made first.

    Example: micro db migrate --service task
    """

    service: str | None = option("--service", metavar="NAME", help="Only this service's database.")

    def run(self, console: Console) -> int | None:
        end = self.session().ask("db.migrate", {"service": self.service}, timeout=None)
        items, made = end["items"], end.get("made", ())
        applied = {name: cell for name, cell in _MIGRATION.items() if name != "applied at"}
        if self.json:
            console.json({"items": items, "made": made} if made else {"items": items})
            return None
        for name in made:
            console.note(f"made the database of {name}")
        nothing = "nothing to apply: all is up to date"
        show_items(console, items, columns=applied, json=False, nothing=nothing)
        return None


@verb
class Status(DataVerb):
    """List every migration and when it was applied.

    Exits with 1 while any is pending.

    Example: micro db status
    """

    service: str | None = option("--service", metavar="NAME", help="Only this service's database.")

    def run(self, console: Console) -> int | None:
        items = collect(self.session(), "db.status", service=self.service)
        show_items(console, items, columns=_MIGRATION, json=self.json, nothing="no migrations")
        return 1 if any(item["applied_at"] is None for item in items) else 0


@verb
class Shell(DataVerb):
    """Run SQL in a service's database, read-only unless --write.

    Without SQL, statements are read from standard input; each ends with a semicolon.

    Example: micro db shell task "select id, title from tasks limit 5"
    """

    service: str = argument("SERVICE", help="Whose database.")
    sql: str | None = argument("SQL", help="One statement.", optional=True)
    write: bool = flag("--write", help="Let statements change data.")

    def run(self, console: Console) -> int | None:
        session = self.session()
        if self.sql is not None:
            self._execute(session, console, self.sql)
            return 0
        return self._read_and_execute(session, console)

    def _read_and_execute(self, session: Session, console: Console) -> int:
        asking = sys.stdin.isatty() and console.interactive
        if asking:
            import readline  # noqa: F401, PLC0415 - loaded when first used: gives input() a history and line editing

            console.note(
                f"{self.service}: {'read and write' if self.write else 'read-only'}; end with Ctrl-D"
            )
        for sql in statements(_typed(f"{self.service}> ") if asking else sys.stdin):
            try:
                self._execute(session, console, sql)
            except MicroError as error:
                if not asking:
                    raise
                console.error(str(error))
        return 0

    def _execute(self, session: Session, console: Console, sql: str) -> None:
        args = {"service": self.service, "sql": sql, "write": self.write}
        answer = session.ask("db.query", args, timeout=None)
        if self.json:
            console.json(answer)
        elif answer["columns"]:
            rows = [[_cell(value) for value in row] for row in answer["rows"]]
            console.table(answer["columns"], rows)
        else:
            console.note(f"{count(answer['changed'], 'row')} changed" if self.write else "no rows")
        if "truncated" in answer:
            console.note(f"only the first {len(answer['rows'])} of {answer['truncated']} rows are shown")


def statements(lines: Iterator[str] | Any) -> Iterator[str]:
    """The SQL statements in `lines`; a semicolon in a string or a comment ends none. A last one may lack it."""
    from sqlite3 import complete_statement  # noqa: PLC0415 - loaded when first used

    pending = ""
    for line in lines:
        for piece in re.split("(?<=;)", line):
            pending += piece
            if complete_statement(pending):
                yield pending.strip()
                pending = ""
    if pending.strip():
        yield pending.strip()


def _typed(prompt: str) -> Iterator[str]:
    while True:
        try:
            yield input(prompt) + "\n"
        except EOFError:
            return


def _cell(value: Any) -> str:
    return "NULL" if value is None else str(value)


_MIGRATION: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "service": lambda item: str(item["service"]),
    "number": lambda item: f"{item['number']:04}",
    "name": lambda item: str(item["name"]),
    "applied at": lambda item: local_time(item["applied_at"]) if item["applied_at"] else state("pending"),
}

for _name, _cls in {"migrate": Migrate, "status": Status, "shell": Shell}.items():
    add(app, _name, _cls)
