"""The servers behind a stack: found, started where asked, checked, brought up to date; at the end, stopped where borrowed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from micro import registry
from micro.config.load import load_stack
from micro.errors import ConfigurationError, MissingExtra
from micro.infra.local import Local, server_for
from micro.runtime.preflight import Preflight, refusal
from micro.runtime.stop import completes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from micro.clock import Clock
    from micro.config.read import Config
    from micro.profile import Profile
    from micro.runtime.up import UpOptions


def locate(profile: Profile, state: Path, *, clock: Clock) -> Profile:
    """The profile with the URLs of the servers that `micro infra` runs in this state folder, where it wants those.

    Raises `ConfigurationError` where one doesn't run.
    """
    if not profile.local:
        return profile
    located = profile.located(Local(state, clock=clock).urls())
    if not located.local:
        return located
    variables = _listed([f"MICRO_{port.upper()}" for port in located.local])
    flag = "--prod" if profile.name == "prod" else f"--profile {profile.name}"
    raise ConfigurationError(
        f"profile {profile.name}: no server is configured for {_listed(located.local)}, and micro infra runs none here; "
        f"set {variables} (or write it in micro.toml), or start local servers: micro up {flag} --infra"
    )


def on_local_servers(profile: Profile) -> dict[str, str]:
    """What to set in this profile, as written, so that it uses local servers where it uses any.

    Raises `ConfigurationError` where it uses none.
    """
    if not profile.servers:
        raise ConfigurationError(
            f"profile {profile.name} uses no servers, so --infra has none to start; try: micro up --prod --infra"
        )
    return dict.fromkeys(profile.servers, "infra:")


def require_extras(profile: Profile, state: Path, *, clock: Clock) -> None:
    """See that all is installed which local servers and this profile's drivers need, before anything is made.

    Raises `MissingExtra` for all that is missing, and `ConfigurationError` for a server of this machine that isn't there.
    """
    missing = []
    if any(registry.missing_extra(port, getattr(profile, port)) for port in profile.servers):
        missing.append("prod")
    try:
        Local(state, clock=clock).find([server_for(port) for port in profile.local])
    except MissingExtra as error:
        missing.append(error.extra)
    if missing:
        raise MissingExtra("--infra", ",".join(missing))


class Backing:
    """Construct, `open`, `close`. `open` says through `options.tell` what it does and finds, a line each."""

    def __init__(self, config: Config, profile: Profile, *, options: UpOptions, clock: Clock) -> None:
        self.profile = profile
        """Once opened, with the URLs of real servers."""
        self.migrate = False
        """Once opened, whether databases are to be made and brought up to date."""
        self._config = config
        self._options = options
        self._clock = clock
        self._local = Local(config.stack.state, clock=clock)

    async def open(self) -> None:
        """Return when every server is there, and, where this process is to use them, may be relied on.

        Raises `UsageError` with a line for what can't, and `MicroError` where a local server does not start.
        """
        options = self._options
        if options.infra:
            await self._local.borrow([server_for(port) for port in self.profile.local], options.tell)
        ours = "store" in self.profile.local and self._local.is_own("store")
        self.profile = locate(self.profile, self._config.stack.state, clock=self._clock)
        self.migrate = options.migrate or options.infra or ours
        if self.profile.runner == "multi":
            return  # its runner has them asked by a process of its own, while others load their code
        loaded = load_stack(options.choice.of(self._config.stack))
        findings = await Preflight(self.profile, loaded, clock=self._clock, migrate=self.migrate).run()
        if error := refusal(findings):
            raise error
        for finding in findings:
            options.tell(finding.line)

    async def close(self) -> None:
        """Stop the servers that were borrowed, by this or by one that was killed. Idempotent."""
        if self._options.infra:
            stopped = await self._local.give_back()
            if stopped:
                self._options.tell(f"stopped {_listed(stopped)}")


@asynccontextmanager
async def backed(
    config: Config, profile: Profile, *, options: UpOptions, clock: Clock, unless: asyncio.Event
) -> AsyncIterator[tuple[Profile, bool] | None]:
    """The profile to run with, and whether to migrate, with its servers there for as long as the block lasts.

    Nothing where `unless` came first.
    """
    backing = Backing(config, profile, options=options, clock=clock)
    try:
        opened = await completes(backing.open(), unless=unless)
        yield (backing.profile, backing.migrate) if opened else None
    finally:
        await backing.close()


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
