"""`logs`: what the services logged, read from the files, so that it works when nothing runs any more."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from micro.commands.render import log_lines
from micro.commands.verb import DataVerb, add, argument, flag, flat, option, verb
from micro.errors import UsageError
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from micro.console import Console
    from micro.runtime.session import Session
    from micro.telemetry.reader import LogQuery

app = flat()


@verb
class Logs(DataVerb):
    """Print what the services logged.

    The oldest comes first. Works when nothing runs, too.

    Example: micro logs task -f --since 10m --level warning
    """

    service: str | None = argument("SERVICE", help="Only this service.", optional=True)
    follow: bool = flag("--follow", "-f", help="Go on as lines are written.")
    since: str | None = option("--since", metavar="WHEN", help="From then on: 10m, 2h, or an RFC 3339 time.")
    level: str = option("--level", metavar="LEVEL", help="This level and above.", default="debug")

    def run(self, console: Console) -> int | None:
        from micro.telemetry.reader import follow_logs, read_logs  # noqa: PLC0415 - loaded when used: msgspec

        session = self.session()
        query = self._query(session)
        if not any(path.exists() for path in query.paths()):
            console.note("nothing was logged here so far")
        show = console.json if self.json else _printer(console)
        if self.follow:
            asyncio.run(_each(follow_logs(query, session.clock), show))
        elif self.json:
            console.json({"items": read_logs(query)})
        else:
            for record in read_logs(query):
                show(record)
        return None

    def _query(self, session: Session) -> LogQuery:
        from micro.runtime.operations.filters import parse_moment  # noqa: PLC0415 - loaded when used, as above
        from micro.telemetry.reader import LEVELS, LogQuery  # noqa: PLC0415 - as above

        folder = session.state / "logs"
        if self.level.lower() not in LEVELS:
            raise UsageError(f"--level: there is no level '{self.level}'{did_you_mean(self.level, LEVELS)}")
        self._check_service(session, {path.name.partition(".")[0] for path in folder.glob("*.log")})
        since = parse_moment(self.since, session.clock) if self.since else None
        return LogQuery(
            folder=folder,
            services=(self.service,) if self.service else (),
            since=None if since is None else datetime.fromtimestamp(since, UTC),
            level=self.level.lower(),
        )

    def _check_service(self, session: Session, files: set[str]) -> None:
        """Whoever follows a service of the stack may be there before its first line."""
        if self.service is None or self.service in (known := files - {"access"}):
            return
        if self.follow and self.service in session.config.stack.names:
            return
        raise UsageError(
            f"'{self.service}' has logged nothing here{did_you_mean(self.service, sorted(known))}"
        )


async def _each(records: AsyncGenerator[dict[str, Any]], show: Callable[[dict[str, Any]], None]) -> None:
    async with contextlib.aclosing(records):
        async for record in records:
            show(record)


def _printer(console: Console) -> Callable[[dict[str, Any]], None]:
    def show(record: dict[str, Any]) -> None:
        for line in log_lines(record):
            console.line(line)

    return show


add(app, "logs", Logs)
