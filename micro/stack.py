"""A stack: its services and its gateway, as described in `micro.toml` (or `builtin.toml`), nothing imported yet."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 # read at run time: the checker looks at the fields' types
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 # as above

from micro.spec.gateway import GatewaySpec  # noqa: TC001 # as above
from micro.spec.terms import (  # as above
    DERIVED,
    EnvName,
    EnvValue,
    HealthPath,
    HttpUrls,
    ImportString,
    Port,
    RoutePath,
    ServiceName,
    Text,
)
from micro.spec.upstream import UpstreamSpec

BUILT_IN = "built-in"
"""The origin of what comes with micro."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One `[services.NAME]` table. Exactly one of `service`, `app`, `command`, `url` is set."""

    name: str = field(metadata=DERIVED)
    service: ImportString | None = None
    app: ImportString | None = None
    command: Text | None = None
    url: HttpUrls | None = None
    """Of each instance. Empty (which no file can say): the process is told them while it runs."""
    routes: tuple[RoutePath, ...] = ()
    port: Port | None = None
    """`None`: the service's own, else the first free one above the gateway's (see `micro.config.load.load_stack`)."""
    health: HealthPath = "/health"
    depends: tuple[ServiceName, ...] = ()
    env: Mapping[EnvName, EnvValue] = field(default_factory=dict)
    """As written; `micro.config.read.Config.service_env` expands it."""
    upstream: UpstreamSpec = UpstreamSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Everything that `micro.toml` says about services and gateway, validated."""

    name: str
    root: Path
    """The folder of `micro.toml`, or the current one; `.micro/` lies in it."""
    file: Path | None
    """`micro.toml` or `pyproject.toml`; `None` for the built-in stack."""
    members: tuple[Member, ...]
    gateway: GatewaySpec
    partial: bool = False
    """Some of the services were left out (see `micro.config.load.select`)."""

    @property
    def state(self) -> Path:
        """The state folder, `.micro`."""
        return self.root / ".micro"

    @property
    def source(self) -> str:
        """What messages call the file."""
        if self.file is None:
            return "built-in stack"
        return "pyproject.toml [tool.micro]" if self.file.name == "pyproject.toml" else self.file.name

    @property
    def names(self) -> tuple[str, ...]:
        """The services' names, in the order of the file."""
        return tuple(member.name for member in self.members)

    def member(self, name: str) -> Member:
        """The service of that name. Raises `KeyError`."""
        for member in self.members:
            if member.name == name:
                return member
        raise KeyError(name)
