"""The configuration: what the files, the environment and the flags say, merged, checked, with the origin of each value.

Precedence: flag, environment (`MICRO_…`), `micro.toml` or `[tool.micro]`, built-in. `${VAR}` is expanded in the chosen
profile and in the `env` tables of services, nowhere else. Nothing is imported, opened or started here.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 # read at run time: the checker looks at the fields' types
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from micro.config.environment import (
    PROFILE,
    STACK_KEY,
    misspelt,
    profile_variables,
    read_variables,
    variables,
)
from micro.config.sources import Source, built_in, find_source, read_dotenv
from micro.config.topology import KINDS, check_stack
from micro.errors import ConfigurationError
from micro.profile import Profile, resolve
from micro.spec.expand import expand
from micro.spec.gateway import PLAIN, GatewaySpec, Provider
from micro.spec.layers import Layers
from micro.spec.terms import ServiceName, StackName, Text  # noqa: TC001 # as above
from micro.spec.validate import Place, build, check, key_path
from micro.stack import BUILT_IN, Member, Stack
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from micro.config.environment import Variable
    from micro.config.show import Setting

DEFAULT_PROFILE = "dev"

FLAG = "flag"
"""The origin of a value from the command line."""


@dataclass(kw_only=True)
class _StackTable:
    name: StackName
    builtin: bool


@dataclass(kw_only=True)
class _AuthTable:
    issuers: tuple[Text, ...]
    providers: Mapping[ServiceName, Provider]


@dataclass(frozen=True, kw_only=True)
class _GatewayTable(GatewaySpec):
    auth: _AuthTable


@dataclass(kw_only=True)
class File:
    """The tables of a `micro.toml`."""

    stack: _StackTable
    services: Mapping[ServiceName, Member]
    gateway: _GatewayTable
    profiles: Mapping[ServiceName, Profile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `read_config` found."""

    stack: Stack
    """Services and gateway. Ports and routes that only the services themselves declare come with `load_stack`."""
    environment: Mapping[str, str]
    """The process's environment and, below it, `.env` beside `micro.toml`."""
    warnings: tuple[str, ...]
    """Sentences to show once; nothing in them stops a start."""
    origins: Mapping[str, str]
    """Key path (`gateway.port`, `services.task.depends`, `profiles.dev.store`) to where its value comes from."""
    profiles: Mapping[str, Mapping[str, Any]] = field(repr=False)
    """The `[profiles.*]` tables, merged and checked, not expanded."""

    def profile(self, name: str | None = None, flags: Mapping[str, Any] | None = None) -> Profile:
        """The profile of that name, else of `MICRO_PROFILE`, else `dev`, with the environment and `flags` applied.

        `flags` are keys of a profile table: `runner`, `store`, `bus`, `cache`, `replicas`; `None` values are skipped.

        Raises `ConfigurationError` for an unknown profile, an unset variable, an unreadable secret file, a wrong URL,
        and a pair of runner and back end that can't work.
        """
        profile = self.profile_as_written(name, flags)
        return resolve(profile, self.environment, self.stack.root, self.stack.names)

    def profile_as_written(self, name: str | None = None, flags: Mapping[str, Any] | None = None) -> Profile:
        """The same before its variables are expanded and it is checked as a whole.

        Raises `ConfigurationError` for an unknown profile and a value of the wrong type.
        """
        chosen = name or self.environment.get(PROFILE) or DEFAULT_PROFILE
        path = ("profiles", chosen)
        if chosen not in self.profiles:
            file = "flag" if name else f"environment {PROFILE}"
            raise Place(file, ("profile",)).error(
                f"no profile '{chosen}'{did_you_mean(chosen, self.profiles)}"
            )
        prefix = key_path(path) + "."
        layers = Layers()
        layers.add(self.profiles[chosen], BUILT_IN)
        layers.origins |= {
            key.removeprefix(prefix): origin for key, origin in self.origins.items() if key.startswith(prefix)
        }
        for variable, value, origin in read_variables(profile_variables(Profile), self.environment):
            layers.put(variable.path, value, origin)
        for key, value in (flags or {}).items():
            if value is not None:
                layers.add(check({key: value}, Profile, Place(FLAG)), FLAG)
        place = Place(self.stack.source, path)
        return build(Profile, layers.tables, place, name=chosen, origins=layers.origins)

    def service_env(self, name: str) -> dict[str, str]:
        """The environment of one service: `environment` without the stack's key, then its own `env` table, expanded.

        Raises `ConfigurationError` for an unset variable or an unreadable secret file, `KeyError` for no such service.
        """
        found = dict(self.environment)
        found.pop(STACK_KEY, None)
        for key, text in self.stack.member(name).env.items():
            place = Place(self.stack.source, ("services", name, "env", key))
            found[key] = expand(text, self.environment, self.stack.root, place)
        return found

    def describe(self, profile: Profile) -> list[Setting]:
        """Every effective value of the profile and the stack with its origin, for `micro profile show`."""
        from micro.config.show import describe  # noqa: PLC0415 # loaded when first used: one verb needs it

        return describe(self.stack, profile, self.origins)


def read_config(
    directory: Path, environ: Mapping[str, str], *, flags: Mapping[str, Any] | None = None
) -> Config:
    """Read the nearest `micro.toml` (or `[tool.micro]`) at or above `directory`; without one, the built-in stack.

    `flags` maps key paths of the stack to values of the command line, such as `{"gateway.port": 9000}`; `None` values
    are skipped. Raises `ConfigurationError`, which names file, key path and the nearest right name.
    """
    directory = directory.absolute()
    if not directory.is_dir():
        raise ConfigurationError(f"no folder {directory}")
    source = find_source(directory) or Source(BUILT_IN, {})
    root = source.file.parent if source.file else directory
    environment = {**read_dotenv(root, environ), **environ}
    layers = _files(source)
    known = list(_variables(layers.tables.get("services", {})))
    for variable, value, origin in read_variables(known, environment):
        layers.put(variable.path, value, origin)
    for key, value in (flags or {}).items():
        if value is not None:
            layers.add(check(_nested(key.split("."), value), File, Place(FLAG)), FLAG)
    stack = _stack(layers.tables, source, root)
    check_stack(stack, layers.origins)
    names = (variable.name for variable in chain(known, profile_variables(Profile)))
    return Config(
        stack=stack,
        environment=environment,
        warnings=(*source.warnings, *misspelt(names, environment)),
        origins=layers.origins,
        profiles=layers.tables["profiles"],
    )


def _files(source: Source) -> Layers:
    """The built-in tables and, over them, the user's."""
    own = check(source.tables, File, Place(source.label))
    base = check(built_in().tables, File, Place(BUILT_IN))
    if own.get("stack", {}).get("builtin", not own.get("services")):
        _give_way(base, own)
    else:
        _refuse_orphans(base, own, source)
        base.pop("services")
        base["gateway"].pop("auth")
        base["gateway"].pop("routes")
    layers = Layers()
    layers.add(base, BUILT_IN)
    layers.add(own, source.label)
    listed = own.get("gateway", {}).get("routes", ())
    layers.tables["gateway"]["routes"] = (*listed, *base["gateway"].get("routes", ()))
    return layers


def _give_way(base: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Take from the built-in tables what can't stand beside the user's.

    That is another kind of the same service, the routes of a service that lists its own, and every route of a path that
    the user's routes name without conditions on host, header or query.
    """
    moved = set()
    for name, table in own.get("services", {}).items():
        if any(kind in table for kind in KINDS):
            built = base["services"].get(name, {})
            base["services"][name] = {key: value for key, value in built.items() if key not in KINDS}
        if "routes" in table:
            moved.add(name)
    listed = own.get("gateway", {}).get("routes", ())
    paths = {route.path for route in listed if route.conditions == PLAIN}
    routes = base["gateway"]["routes"]
    base["gateway"]["routes"] = tuple(
        route for route in routes if route.service not in moved and route.path not in paths
    )


def _refuse_orphans(base: Mapping[str, Any], own: Mapping[str, Any], source: Source) -> None:
    """A table that only makes sense over a built-in service, in a file that leaves those out, says what is missing."""
    for name, table in own.get("services", {}).items():
        if name in base["services"] and not any(kind in table for kind in KINDS):
            place = Place(source.label, ("services", name))
            raise place.error(
                "the built-in services are left out; set stack.builtin = true to change this one"
            )


def _variables(services: Iterable[str]) -> Iterator[Variable]:
    yield from variables(_GatewayTable, ("gateway",))
    for name in services:
        yield from variables(Member, ("services", name))


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return cast("dict[str, Any]", value)


def _stack(tables: Mapping[str, Any], source: Source, root: Path) -> Stack:
    place = Place(source.label)
    members = [
        build(Member, table, place.at("services", name), name=name)
        for name, table in tables.get("services", {}).items()
    ]
    gateway = dict(tables["gateway"])
    auth = gateway.pop("auth", {})
    providers = {
        name: build(Provider, table, place.at("gateway", "auth", "providers", name))
        for name, table in auth.get("providers", {}).items()
    }
    return Stack(
        name=tables["stack"]["name"],
        root=root,
        file=source.file,
        members=tuple(members),
        gateway=build(
            GatewaySpec,
            gateway,
            place.at("gateway"),
            issuers=auth.get("issuers", ("stack",)),
            providers=providers,
        ),
    )
