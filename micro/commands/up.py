"""`up`: start the stack, say what runs where, and show what it does until it is stopped."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from micro.commands.render import access_line, event_line, span, state
from micro.commands.values import port_number
from micro.commands.verb import DataVerb, add, arguments, flag, flat, option, verb
from micro.console import OutputClosed, color_of, style
from micro.errors import MicroError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from micro.console import Console
    from micro.profile import Profile
    from micro.runtime.detach import Announcement
    from micro.runtime.multi.forks import Forks
    from micro.runtime.report import Report
    from micro.runtime.session import Session

app = flat()


@verb
class Up(DataVerb):
    """Start the stack and show what it does.

    Everything in one process with --dev, which is what is meant unless said. Ctrl-C finishes the work in hand and
    stops; a second one stops at once.

    Example: micro up --dev
    """

    services: tuple[str, ...] = arguments("SERVICE", help="Only these, and what they depend on.")
    no_deps: bool = flag("--no-deps", help="Not what they depend on.")
    detach: bool = flag("--detach", "-d", help="Return when it is ready, and leave it running.")
    reload: bool | None = flag(
        "--reload/--no-reload", help="Follow edits to the code; on in dev.", default=None
    )
    port: int | None = option("--port", metavar="PORT", help="The gateway's port.", parse=port_number)
    migrate: bool = flag("--migrate", help="Bring the databases on servers up to date first.")
    infra: bool = flag("--infra", help="Run the servers on this machine, too, until it stops.")

    def run(self, console: Console) -> int | None:
        session = self.session({"gateway.port": self.port})
        if self.detach:
            self._detach(session, console)
            return None
        with suppress(KeyboardInterrupt):  # in the moment before the stack takes the signal itself
            self._run_here(session, console)
        return None

    def _detach(self, session: Session, console: Console) -> None:
        from micro.runtime.detach import detach  # noqa: PLC0415 - loaded when used
        from micro.runtime.report import Report  # noqa: PLC0415 - loaded when used

        report = detach(self._again(session), environ=session.environ, log=_output(session))
        Screen(console, json=self.json).ready(Report.from_dict(report))

    def _again(self, session: Session) -> list[str]:
        """This command line without --detach, from wherever it is run."""
        said = ["-C", str(session.directory), "up", *self.services]
        said += ["--profile", session.chosen] if session.chosen else []
        flags = {"--no-deps": self.no_deps, "--migrate": self.migrate, "--infra": self.infra}
        said += [name for name, given in flags.items() if given]
        said += [] if self.reload is None else ["--reload" if self.reload else "--no-reload"]
        return said if self.port is None else [*said, "--port", str(self.port)]

    def _run_here(self, session: Session, console: Console) -> None:
        began = session.clock.monotonic()  # what is loaded next is most of what a start takes
        from micro.runtime.detach import Announcement  # noqa: PLC0415 - loaded when used, as all that runs the stack

        announcement = Announcement(os.environ)
        try:
            profile = session.local_profile() if self.infra else session.profile
            with forks_for(profile) as forks:
                from micro.runtime.settings import Choice  # noqa: PLC0415 - as above
                from micro.runtime.up import UpOptions, up  # noqa: PLC0415 - as above

                options = UpOptions(
                    choice=Choice(names=self.services, depends=not self.no_deps),
                    reload=profile.name == "dev" if self.reload is None else self.reload,
                    console=not announcement.awaited,  # nobody looks: the services' own logs have it all
                    colour=console.err_color,
                    output=_output(session) if announcement.awaited else None,
                    began=began,
                    read=session.read_config,
                    migrate=self.migrate,
                    infra=self.infra,
                    tell=lambda text: console.note(style(text, "dim")),
                    forks=forks,
                )
                profile = profile if self.infra else session.runnable_profile
                screen = Screen(console, session=session, announcement=announcement, json=self.json)
                up(session.config, profile, observer=screen, options=options, clock=session.clock)
        except MicroError as error:
            announcement.failed(str(error))
            raise


def forks_for(profile: Profile) -> AbstractContextManager[Forks | None]:
    """What forks processes, where there will be some: it loads what they need while this process loads its own."""
    if profile.runner != "multi":
        return nullcontext()
    from micro.runtime.multi.forks import Forks  # noqa: PLC0415 - for such profiles only

    return Forks.of(profile)


class Screen:
    """Shows a stack to whoever started it; a `micro.runtime.options.Observer`.

    With a `session` and on a terminal, it shows what happens, too. A reader that goes away (`micro up | head`) is no
    reason to stop a stack: then nothing more is shown.
    """

    def __init__(
        self,
        console: Console,
        *,
        session: Session | None = None,
        announcement: Announcement | None = None,
        json: bool = False,
    ) -> None:
        self._console = console
        self._session = session if console.interactive and not json else None
        self._announcement = announcement
        self._json = json
        self._tasks: list[asyncio.Task[None]] = []

    def ready(self, report: Report) -> None:
        """Where everything is; then, line by line, what happens."""
        if self._announcement is not None:
            self._announcement.ready(report.as_dict())
        with suppress(OutputClosed):
            if self._json:
                self._console.json(report.as_dict())
            else:
                for line in report_lines(report):
                    self._console.line(line)
        if self._session is not None:
            self._follow(self._session)

    def stopping(self) -> None:
        """The first Ctrl-C was heard."""
        for task in self._tasks:
            task.cancel()
        self._note(style("stopping: finishing what is in hand; Ctrl-C again stops at once", "dim"))

    def notice(self, text: str) -> None:
        """A reload, or why there was none."""
        for line in text.splitlines():
            self._note(style(line, "yellow"))

    def _follow(self, session: Session) -> None:
        from micro.commands.traffic import show_events, show_requests  # noqa: PLC0415 - for a terminal only

        works = (
            show_events(session.state, lambda item: self._line(event_line(item, short=True))),
            show_requests(session.state, lambda record: self._line(access_line(record)), session.clock),
        )
        self._tasks = [asyncio.create_task(work) for work in works]

    def _line(self, text: str) -> None:
        with suppress(OutputClosed):
            self._console.line(text)

    def _note(self, text: str) -> None:
        with suppress(OutputClosed):
            self._console.note(text)


def _output(session: Session) -> Path:
    """Where a detached stack's output goes."""
    return session.state / "logs" / "up.log"


def report_lines(report: Report) -> Iterator[str]:
    """What runs where, in how long, what is not guaranteed, and what to try next."""
    head = f"{style(report.stack, 'bold')} is up, profile {report.profile}, in {span(report.seconds)}"
    yield f"{head}{'; edits are followed' if report.reload else ''}"
    width = max(len(name) for name in ("gateway", *(each.name for each in report.services)))
    docs = style(f"documentation at {report.gateway}/docs", "dim")
    if report.gateway:
        yield f"  {style('gateway'.ljust(width), 'bold')}  {report.gateway}  {docs}"
    for each in report.services:
        name = style(f"{each.name:<{width}}", color_of(each.name))
        took = (
            f"  {style(span(each.seconds), 'dim')}" if each.seconds else ""
        )  # none where nothing was started
        yield f"  {name}  {each.url}  {state(each.health)}{took}"
    for sentence in report.warnings:
        yield style(f"warning: {sentence}", "yellow")
    if report.not_guaranteed:
        yield f"profile {report.profile} does not guarantee:"
    yield from (f"  - {sentence}" for sentence in report.not_guaranteed)
    yield "next, in another terminal:"
    yield from (f"  {style(command, 'cyan')}" for command in report.next)


add(app, "up", Up)
