"""What of the configuration changes while the stack runs: the gateway's routes and rules, and where services lie that run
elsewhere. The rest is named, and waits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from micro.config.load import load_stack, select
from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from micro.config.read import Config
    from micro.runtime.system import System
    from micro.stack import Stack

LIVE = (
    "access_log",
    "api_keys",
    "cors",
    "hosts",
    "max_body",
    "max_requests",
    "middleware",
    "policies",
    "rate_limit",
    "rate_limits",
    "routes",
    "security_headers",
    "trusted_proxies",
)
"""Settings of the gateway that take effect at once; the services' own ports follow `hosts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which services to take, and as whom."""

    names: tuple[str, ...] = ()
    """Empty: all."""
    depends: bool = True
    """Those they depend on, too."""
    gateway: bool = True
    """The gateway and the services' public ports, too; without, these are instances for a stack that runs elsewhere."""
    instance: str | None = None
    """This process's name among all that run at a time, the same when it comes back; none: a new one each time."""

    def of(self, stack: Stack) -> Stack:
        """The stack with just these. Raises `NotFound`."""
        return select(stack, self.names, depends=self.depends)


ALL = Choice()


class Settings:
    """The configuration in force, and how to read it again."""

    def __init__(
        self, system: System, *, choice: Choice = ALL, read: Callable[[], Config] | None = None
    ) -> None:
        """Without `read` the files are never looked at again."""
        self._system = system
        self._choice = choice
        self._config = system.shared.config
        self._read = read
        self._told: list[str] = []
        """What came of the last reading."""

    def reread(self) -> dict[str, Any]:
        """Read the files again and put in force what can be: `{"changed": bool, "notes": […]}`.

        A note says what was done, or what needs a restart. Raises `ConfigurationError` where the files are wrong;
        nothing has changed then.
        """
        config = self._again()
        notes = [f"restart needed: {key} changed" for key in self._waiting(config)]
        changed = False
        if {*self._choice.of(config.stack).names} == {*self._system.shared.stack.names}:
            changed = self._put_in_force(config)
        else:  # a route may lead to a service that does not run
            notes.append("the gateway's settings stay as they were until then")
        return {
            "changed": changed,
            "notes": ["the gateway's settings are in force", *notes] if changed else notes,
        }

    def _again(self) -> Config:
        """What the files say now. Raises `ConfigurationError`, also where the file that the stack runs by is gone."""
        config = self._read() if self._read is not None else self._config
        file = self._config.stack.file
        if file is not None and config.stack.file != file:
            raise ConfigurationError(
                "is gone; put it back, or stop the stack with: micro down", file=file.name
            )
        return config

    def follow(self, notice: Callable[[str], None], *, news_only: bool = False) -> None:
        """The same, and tell what came of it; of wrong files, why everything stays as it was.

        With `news_only` nothing is told that was told the last time.
        """
        try:
            notes = self.reread()["notes"]
        except ConfigurationError as error:
            notes = [f"the settings stay as they were: {error}"]
        before, self._told = self._told, notes
        for note in notes:
            if not (news_only and note in before):
                notice(note)

    def follow_services(self) -> list[str]:
        """Put the routes in force that reloaded services declare; what stands in the way, or needs a restart."""
        try:
            self._put_in_force(self._config)
        except ConfigurationError as error:
            return [f"the routes stay as they were: {error}"]
        ports = {name: hosted.member.port for name, hosted in self._system.services.items()}
        return [
            f"restart needed: services.{name}.port changed"
            for name, hosted in self._system.services.items()
            if hosted.service.port not in {None, ports[name]}
        ]

    def _put_in_force(self, config: Config) -> bool:
        shared, gateway = self._system.shared, self._system.gateway
        running = {name: hosted.service for name, hosted in self._system.services.items()}
        wanted = load_stack(self._choice.of(config.stack), running).stack.gateway
        spec = replace(gateway.spec, **{name: getattr(wanted, name) for name in LIVE})
        changed = spec != gateway.spec
        if changed:
            gateway.reconfigure(spec)
            shared.hosts.change(spec.hosts, more=spec.routed_hosts)
            self._system.shared = replace(shared, stack=replace(shared.stack, gateway=spec))
        self._config = config
        return self._move(config) or changed

    def _move(self, config: Config) -> bool:
        """Follow the services that lie elsewhere to their new URLs; requests under way finish where they are."""
        moved = False
        for name, remote in self._system.remotes.items():
            urls = config.stack.member(name).url
            if urls and remote.member.url and urls != remote.member.url:
                remote.member = replace(remote.member, url=urls)
                remote.cluster.update(urls)
                moved = True
        return moved

    def _waiting(self, config: Config) -> Iterator[str]:
        """What differs from the configuration that the stack was started with, and isn't followed."""
        before, after = self._system.shared.config, config
        known = {member.name: member for member in before.stack.members}
        for member in after.stack.members:
            if member.name not in known:
                yield f"services.{member.name}"
                continue
            old = known.pop(member.name)
            live = {"routes", "url"} if old.url and member.url else {"routes"}
            yield from (f"services.{member.name}.{key}" for key in _differing(old, member, live))
        yield from (f"services.{name}" for name in known)
        for key in _differing(before.stack.gateway, after.stack.gateway, {*LIVE}):
            yield f"gateway.{key}"
        profile = self._system.shared.profile.name
        if before.profiles.get(profile) != after.profiles.get(profile):
            yield f"profiles.{profile}"
        if before.environment != after.environment:
            yield ".env"


def _differing(before: Any, after: Any, but: set[str]) -> list[str]:
    names = [field.name for field in fields(before) if field.name not in but]
    return [name for name in names if getattr(before, name) != getattr(after, name)]
