"""A profile: which runner and which back ends. One frozen record; nothing is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 # read at run time: the checker looks at the fields' types
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from micro.registry import LOCAL, Port, is_known, is_server, scheme_of, unknown
from micro.spec.expand import expand
from micro.spec.layers import origin_of
from micro.spec.terms import DERIVED, BackendUrl, Text, WholeNumber
from micro.spec.validate import Place, check, key_path
from micro.stack import BUILT_IN
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SERVICE = "{service}"
"""What stands for the service's name in a store's URL."""

GATEWAY = "gateway"
"""Stands beside the services' names where instances are counted; no service may have it."""

PORTS: tuple[Port, ...] = ("store", "bus", "cache")

_FOUND = "micro infra"
"""The origin of a URL that was found and not written."""
_TEMPLATE = re.compile(r"(?<!\$)\{[^{}]*\}")
_SQLITE = re.compile(r"sqlite:(?!:)[^?#]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One `[profiles.NAME]` table, with the environment and flags applied."""

    name: str = field(metadata=DERIVED)
    runner: Literal["single", "multi"]
    store: BackendUrl
    """A URL; `{service}` stands for the service's name. See `store_url`. Each of the three may be `infra:`."""
    bus: BackendUrl
    cache: BackendUrl
    replicas: Mapping[Text, WholeNumber] = field(default_factory=dict)
    """Instances of a service by its name, and workers of the `gateway`."""
    origins: Mapping[str, str] = field(default_factory=dict, metadata=DERIVED)
    """Where each value comes from: `flag`, `environment MICRO_STORE`, `micro.toml`, `built-in`."""

    def store_url(self, service: str, root: Path) -> str:
        """The URL of one service's own database; a relative SQLite file lies below `root`, the stack's folder."""
        scheme, _, rest = self.store.replace(SERVICE, service).partition(":")
        return f"sqlite:{root / rest}" if scheme == "sqlite" else f"{scheme}:{rest}"

    def replicas_of(self, service: str) -> int:
        """How many instances of a service, or workers of the gateway, run; one unless said."""
        return self.replicas.get(service, 1)

    @property
    def servers(self) -> tuple[Port, ...]:
        """The ports that have a server of its own behind them. The variables need no value yet."""
        return tuple(port for port in PORTS if is_server(port, getattr(self, port)))

    @property
    def local(self) -> tuple[Port, ...]:
        """The ports that `micro infra` has a server for, and whose URL is still to be found."""
        return tuple(port for port in PORTS if getattr(self, port) == LOCAL)

    @property
    def found(self) -> tuple[Port, ...]:
        """The ports whose URL is that of a server of `micro infra`."""
        return tuple(port for port in PORTS if self.origins.get(port) == _FOUND)

    def located(self, urls: Mapping[str, str]) -> Profile:
        """The same with these URLs for the local ports."""
        found: dict[str, Any] = {port: urls[port] for port in self.local if port in urls}
        return replace(self, **found, origins={**self.origins, **dict.fromkeys(found, _FOUND)})

    def place(self, *keys: str) -> Place:
        """Where the value of a key was written."""
        origin = origin_of(self.origins, key_path(keys)) or BUILT_IN
        return Place(origin, ("profiles", self.name, *keys))


def resolve(profile: Profile, environ: Mapping[str, str], root: Path, services: Collection[str]) -> Profile:
    """The profile with its variables expanded, checked as a whole.

    Raises `ConfigurationError` with file and key: an unset variable, a wrong URL, an unknown scheme or service, and a pair
    of runner and back end that can't work.
    """
    store, bus, cache = (_url(profile, port, environ, root) for port in PORTS)
    resolved = replace(profile, store=store, bus=bus, cache=cache)
    _check_store(resolved)
    _check_replicas(resolved, services)
    if resolved.runner == "multi":
        _check_shared(resolved)
    return resolved


def _url(profile: Profile, port: Port, environ: Mapping[str, str], root: Path) -> str:
    place = profile.place(port)
    written: str = getattr(profile, port)
    allowed = (SERVICE,) if port == "store" else ()
    for found in _TEMPLATE.findall(written):
        if found not in allowed:
            known = "only {service} is replaced" if allowed else "nothing in braces is replaced here"
            raise place.error(f"{found}: {known}")
    url: str = check(expand(written, environ, root, place), BackendUrl, place)
    if url != LOCAL and not is_known(port, url):
        raise place.error(unknown(port, url))
    return url


def _check_store(profile: Profile) -> None:
    if profile.store == LOCAL:
        return
    if SERVICE not in profile.store:
        raise profile.place("store").error("must hold {service}: every service has a database of its own")
    if scheme_of(profile.store) == "sqlite" and not _SQLITE.match(profile.store):
        raise profile.place("store").error('must name a file, like "sqlite:.micro/{service}.db"')


def _check_replicas(profile: Profile, services: Collection[str]) -> None:
    known = {*services, GATEWAY}
    for name, count in profile.replicas.items():
        place = profile.place("replicas", name)
        if name not in known:
            raise place.error(f"no service '{name}'{did_you_mean(name, known)}")
        if not count:
            raise place.error("must be at least 1; leave a service out of `micro up` to not run it")
        if count > 1 and profile.runner == "single":
            raise place.error('runner = "single" runs one instance of each service, and one gateway')
        if count > 1 and name != GATEWAY and scheme_of(profile.store) == "sqlite":
            raise place.error("several instances can't share one SQLite file; use postgresql: as the store")


def _check_shared(profile: Profile) -> None:
    for port in ("bus", "cache"):
        if scheme_of(getattr(profile, port)) == "memory":
            raise profile.place(port).error('several processes can\'t share "memory:"; the runner is "multi"')
