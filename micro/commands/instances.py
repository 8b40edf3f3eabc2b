"""`restart`, `scale`, `run`: how many instances of a service there are, and fresh ones in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.commands.values import assignment
from micro.commands.verb import DataVerb, add, argument, arguments, flat, verb
from micro.console import style
from micro.errors import StackRunning, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from micro.console import Console

app = flat()

_LONGEST = 600.0
"""Seconds that an answer may take: every instance drains, one after the other."""


@verb
class Restart(DataVerb):
    """Replace the instances of a service by fresh ones.

    One after the other, each ended when its successor is ready, so that no request fails. Where the whole stack is one
    process, the service's code is loaded anew.

    Example: micro restart task
    """

    service: str = argument("SERVICE", help="The service, or gateway.")

    def run(self, console: Console) -> int | None:
        answer = self.session().ask("restart", {"service": self.service}, timeout=_LONGEST)
        _show(console, [answer], json=self.json)
        return None


@verb
class Scale(DataVerb):
    """Change how many instances of a service run.

    More are started, and get requests once they are ready; those that are too many finish what they have in hand. It
    holds until the stack stops; for good, set replicas in the profile.

    Example: micro scale task=3
    """

    counts: tuple[str, ...] = arguments("SERVICE=N", help="How many of which, gateway among them.")

    def run(self, console: Console) -> int | None:
        if not self.counts:
            raise UsageError("say how many of which, like: micro scale task=3")
        wanted = [assignment(each) for each in self.counts]
        session = self.session()
        answers = [
            session.ask("scale", {"service": service, "count": count}, timeout=_LONGEST)
            for service, count in wanted
        ]
        _show(console, answers, json=self.json)
        return None


@verb
class Run(DataVerb):
    """Start one more instance of a service on this machine.

    For a stack that runs elsewhere: with the same servers in the profile and the same MICRO_STACK_KEY, they find each
    other. MICRO_ADVERTISE is the name or address of this machine for the others. Ctrl-C finishes the work in hand and
    stops.

    Example: micro run task --profile prod
    """

    service: str = argument("SERVICE", help="The service.")

    def run(self, console: Console) -> int | None:
        session = self.session()
        began = session.clock.monotonic()
        # Loaded when used, as all that runs the stack.
        from micro.commands.up import Screen, forks_for  # noqa: PLC0415 - as said above
        from micro.runtime.settings import Choice  # noqa: PLC0415 - as said above
        from micro.runtime.up import UpOptions, up  # noqa: PLC0415 - as said above

        choice = Choice(names=(self.service,), depends=False, gateway=False)
        choice.of(session.config.stack)
        profile = session.runnable_profile
        if profile.runner != "multi":
            raise profile.place("runner").error(
                'must be "multi" to run an instance by itself; try --profile prod'
            )
        try:
            with forks_for(profile) as forks:
                options = UpOptions(
                    choice=choice,
                    reload=False,
                    colour=console.err_color,
                    began=began,
                    read=session.read_config,
                    tell=lambda text: console.note(style(text, "dim")),
                    forks=forks,
                )
                up(session.config, profile, observer=Screen(console, json=self.json), options=options)
        except StackRunning as error:
            raise UsageError(
                f"a stack runs in this folder; for more instances: micro scale {self.service}=N"
            ) from error
        return None


def _show(console: Console, answers: Sequence[Mapping[str, Any]], *, json: bool) -> None:
    if json:
        console.json({"items": answers})
        return
    for answer in answers:
        console.line(f"{answer['service']}: {', '.join(answer['instances'])}")


for _name, _cls in {"restart": Restart, "scale": Scale, "run": Run}.items():
    add(app, _name, _cls)
