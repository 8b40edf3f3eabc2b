"""A stack: its services and its gateway, as described in `micro.toml` (or `builtin.toml`), nothing imported yet."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 # read at run time: the checker looks at the fields' types
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 # as above
from typing import Annotated, Any, Literal, TypeAlias

BUILT_IN = "built-in"
"""The origin of what comes with micro."""

DERIVED: Mapping[str, Any] = {"toml": False}
"""Marks a field that no key of the file sets."""

# What a value must look like, beyond its type. `micro.validate` holds the check of each name.
Seconds: TypeAlias = Annotated[float, "duration"]
Bytes: TypeAlias = Annotated[int, "size"]
Port: TypeAlias = Annotated[int, "port"]
StackName: TypeAlias = Annotated[str, "stack name"]
ServiceName: TypeAlias = Annotated[str, "service name"]
RoutePath: TypeAlias = Annotated[str, "route path"]
HealthPath: TypeAlias = Annotated[str, "path"]
ImportString: TypeAlias = Annotated[str, "import string"]
HttpUrl: TypeAlias = Annotated[str, "http url"]
BackendUrl: TypeAlias = Annotated[str, "backend url"]
Method: TypeAlias = Annotated[str, "method"]
Network: TypeAlias = Annotated[str, "network"]
HostName: TypeAlias = Annotated[str, "host"]
EnvName: TypeAlias = Annotated[str, "environment name"]
EnvValue: TypeAlias = Annotated[str, "environment value"]
Text: TypeAlias = Annotated[str, "text"]
WholeNumber: TypeAlias = Annotated[int, "whole number"]

AuthRule: TypeAlias = Literal["none", "optional", "required"]


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` requests in any `period` seconds."""

    limit: int
    period: float


Limit: TypeAlias = Annotated[Rate, "rate"]
LimitOrOff: TypeAlias = Annotated[Rate | None, "rate or off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One `[services.NAME]` table. Exactly one of `service`, `app`, `command`, `url` is set."""

    name: str = field(metadata=DERIVED)
    service: ImportString | None = None
    app: ImportString | None = None
    command: Text | None = None
    url: HttpUrl | None = None
    routes: tuple[RoutePath, ...] = ()
    port: Port | None = None
    """`None`: the service's own, else the first free one above the gateway's (see `micro.load.load_stack`)."""
    health: HealthPath = "/health"
    depends: tuple[ServiceName, ...] = ()
    env: Mapping[EnvName, EnvValue] = field(default_factory=dict)
    """As written; `micro.config.Config.service_env` expands it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One `[[gateway.routes]]` table, or one entry of a service's `routes` with the defaults."""

    path: RoutePath
    """A prefix, matched by path element: `/orders` takes `/orders` and `/orders/1`, not `/ordersheet`."""
    service: ServiceName
    methods: frozenset[Method] | None = None
    """`None`: every method that no other route of this very path names."""
    auth: AuthRule = "none"
    timeout: Seconds = 15.0
    max_body: Bytes | None = None
    rate_limit: Limit | None = None
    """Instead of the gateway's own; `None` means the gateway's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """The `[gateway.cors]` table. No origin is allowed unless named."""

    origins: tuple[Text, ...] = ()
    methods: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[Text, ...] = ("authorization", "content-type", "if-match", "x-correlation-id")
    expose: tuple[Text, ...] = ("etag", "x-request-id", "ratelimit", "ratelimit-policy", "retry-after")
    credentials: bool = False
    max_age: WholeNumber = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySpec:
    """The `[gateway]` table."""

    host: HostName = "127.0.0.1"
    port: Port = 8000
    """0 takes any free port, for the gateway and for every service without a port of its own."""
    adapter: Literal["auto", "asgi", "protocol"] = "auto"
    trusted_proxies: tuple[Network, ...] = ()
    hosts: tuple[HostName, ...] | None = None
    """Host names answered to; `None`: loopback names and the bound address."""
    max_body: Bytes = 1 << 20
    rate_limit: LimitOrOff = Rate(100, 60.0)
    """`None` is written "off"."""
    cors: Cors = Cors()
    issuers: tuple[Text, ...] = field(default=("stack",), metadata=DERIVED)
    """`issuers` of the `[gateway.auth]` table: "stack", or "service:NAME"."""
    metrics_public: bool = False
    routes: tuple[Route, ...] = ()
    """At most one route for a path and method; with it at most one of the same path for all other methods.

    `read_config` fills in what `[[gateway.routes]]` and the tables' `routes` say, `micro.load.load_stack` what the
    services themselves declare.
    """


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
    """Some of the services were left out (see `micro.load.select`)."""

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
