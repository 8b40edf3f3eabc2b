"""What of the configuration changes while the stack runs: the gateway's routes and rules. The rest is named, and waits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from micro.errors import ConfigurationError
from micro.load import load_stack, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from micro.config import Config
    from micro.runtime.system import System
    from micro.stack import Stack

_LIVE = ("routes", "rate_limit", "cors", "max_body", "trusted_proxies")
"""Settings of the gateway that take effect at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which services to take."""

    names: tuple[str, ...] = ()
    """Empty: all."""
    depends: bool = True
    """Those they depend on, too."""

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

    def reread(self) -> dict[str, Any]:
        """Read the files again and put in force what can be: `{"changed": bool, "notes": […]}`.

        A note says what was done, or what needs a restart. Raises `ConfigurationError` where the files are wrong;
        nothing has changed then.
        """
        config = self._read() if self._read is not None else self._config
        notes = [f"restart needed: {key} changed" for key in self._waiting(config)]
        changed = False
        if {*self._choice.of(config.stack).names} == {*self._system.services}:
            changed = self._put_in_force(config)
        return {
            "changed": changed,
            "notes": ["the gateway's settings are in force", *notes] if changed else notes,
        }

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
        spec = replace(gateway.spec, **{name: getattr(wanted, name) for name in _LIVE})
        self._config = config
        if spec == gateway.spec:
            return False
        gateway.reconfigure(spec)
        self._system.shared = replace(shared, stack=replace(shared.stack, gateway=spec))
        return True

    def _waiting(self, config: Config) -> Iterator[str]:
        """What differs from the configuration that the stack was started with, and isn't followed."""
        before, after = self._system.shared.config, config
        known = {member.name: member for member in before.stack.members}
        for member in after.stack.members:
            if member.name not in known:
                yield f"services.{member.name}"
                continue
            old = known.pop(member.name)
            yield from (f"services.{member.name}.{key}" for key in _differing(old, member, {"routes"}))
        yield from (f"services.{name}" for name in known)
        for key in _differing(before.stack.gateway, after.stack.gateway, {*_LIVE}):
            yield f"gateway.{key}"
        profile = self._system.shared.profile.name
        if before.profiles.get(profile) != after.profiles.get(profile):
            yield f"profiles.{profile}"
        if before.environment != after.environment:
            yield ".env"


def _differing(before: Any, after: Any, but: set[str]) -> list[str]:
    names = [field.name for field in fields(before) if field.name not in but]
    return [name for name in names if getattr(before, name) != getattr(after, name)]
