"""What `micro.toml` says about the gateway: the `[gateway]` tables."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 # read at run time: the checker looks at the fields' types
from dataclasses import dataclass, field
from typing import Any, Literal

from micro.spec.terms import (  # as above
    DERIVED,
    AuthRule,
    Bytes,
    Credential,
    Digest,
    FieldName,
    FieldValue,
    HostName,
    HostPattern,
    HttpUrl,
    ImportString,
    Limit,
    LimitOrOff,
    Method,
    Network,
    Origin,
    Port,
    Rate,
    RoutePath,
    Seconds,
    ServiceName,
    TargetPath,
    Text,
    WholeNumber,
)
from micro.spec.upstream import BreakerSpec  # noqa: TC001 # as above


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule:
    """One entry of `rate_limits`."""

    limit: Limit
    by: Literal["ip", "user", "api_key", "route"] = "ip"
    """Whose requests are counted together; `user` and `api_key` leave requests without one to the other limits."""
    burst: WholeNumber = 0
    """How many of them may come within one second; 0 for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChanges:
    """`request_headers` and `response_headers`: removed first, then set, then added."""

    remove: tuple[FieldName, ...] = ()
    set: Mapping[FieldName, FieldValue] = field(default_factory=dict)
    add: Mapping[FieldName, FieldValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One `[[gateway.routes]]` table, or one entry of a service's `routes` with the defaults."""

    path: RoutePath
    """A prefix, matched by path element: `/orders` takes `/orders` and `/orders/1`, not `/ordersheet`."""
    service: ServiceName
    exact: bool = False
    """Take this very path only."""
    methods: frozenset[Method] | None = None
    """`None`: every method that no other route of this very path names."""
    host: HostPattern | None = None
    """Take requests to this host only; `*.example.com` is any name below."""
    headers: Mapping[FieldName, Text] = field(default_factory=dict)
    """Take requests with these header fields only; `*` is any value."""
    query: Mapping[Text, Text] = field(default_factory=dict)
    """Take requests with these query parameters only; `*` is any value."""
    strip_prefix: bool = False
    """Send the path on without `path`."""
    rewrite: TargetPath | None = None
    """Send the path on with this in place of `path`."""
    auth: AuthRule = "none"
    accept: tuple[Credential, ...] = ("token",)
    """The credentials taken where `auth` asks for some."""
    scopes: frozenset[Text] = frozenset()
    """All of which a token must have."""
    roles: frozenset[Text] = frozenset()
    """One of which a token must have."""
    timeout: Seconds = 15.0
    max_body: Bytes | None = None
    rate_limit: Limit | None = None
    """Per address, instead of the gateway's own; `None` means the gateway's."""
    rate_limits: tuple[RateRule, ...] = ()
    """Besides."""
    request_headers: HeaderChanges = HeaderChanges()
    response_headers: HeaderChanges = HeaderChanges()
    breaker: BreakerSpec | None = None
    policies: tuple[ImportString, ...] = ()
    """Policies of your own, after the built-in ones: see `micro.gateway.pipeline`."""
    middleware: tuple[ImportString, ...] = ()
    """ASGI middleware, the outermost first."""

    @property
    def conditions(self) -> tuple[Any, ...]:
        """What it takes requests by, besides path and method. Two routes that agree in all of it are for the same."""
        return (self.exact, self.host, frozenset(self.headers.items()), frozenset(self.query.items()))


PLAIN = Route(path="/", service="").conditions
"""Those of a route without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """The `[gateway.cors]` table. No origin is allowed unless named."""

    origins: tuple[Origin, ...] = ()
    methods: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[Text, ...] = ("authorization", "content-type", "if-match", "x-correlation-id")
    expose: tuple[Text, ...] = ("etag", "x-request-id", "ratelimit", "ratelimit-policy", "retry-after")
    credentials: bool = False
    max_age: WholeNumber = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One `[gateway.api_keys.NAME]` table; `micro token NAME --api-key` prints one."""

    hash: Digest
    """`sha256:` and 64 hexadecimal digits: the key itself is kept by who uses it."""
    role: Text = "user"
    scopes: frozenset[Text] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One `[gateway.auth.providers.NAME]` table: an issuer of tokens outside the stack."""

    issuer: Text
    jwks: HttpUrl
    audience: tuple[Text, ...]
    algorithms: tuple[Literal["EdDSA", "ES256", "ES384", "ES512", "RS256", "PS256"], ...] = (
        "EdDSA",
        "ES256",
        "RS256",
    )
    role_claim: Text = "role"


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
    max_head: Bytes = 32 << 10
    """Of a request: its line and header fields together."""
    head_timeout: Seconds = 10.0
    """From a request's first byte to the end of its head."""
    min_rate: Bytes = 256
    """Bytes a second below which a client that sends a body, or takes an answer, is cut off; 0 switches this off."""
    max_requests: WholeNumber = 10_000
    """In hand at one time; one more gets 503. The gateway's own endpoints are exempt. 0 switches this off."""
    rate_limit: LimitOrOff = Rate(100, 60.0)
    """Per address; `None` is written "off"."""
    rate_limits: tuple[RateRule, ...] = ()
    cors: Cors = Cors()
    security_headers: bool = True
    """Add `X-Content-Type-Options`, `X-Frame-Options`, `Referrer-Policy` and, over TLS, `Strict-Transport-Security` to
    answers that don't have them."""
    access_log: bool = True
    issuers: tuple[Text, ...] = field(default=("stack",), metadata=DERIVED)
    """`issuers` of the `[gateway.auth]` table: "stack", or "service:NAME"."""
    providers: Mapping[ServiceName, Provider] = field(default_factory=dict, metadata=DERIVED)
    """`providers` of the `[gateway.auth]` table."""
    api_keys: Mapping[ServiceName, ApiKey] = field(default_factory=dict)
    metrics_public: bool = False
    policies: tuple[ImportString, ...] = ()
    """Policies of your own for every route."""
    middleware: tuple[ImportString, ...] = ()
    routes: tuple[Route, ...] = ()
    """No two with the same path and conditions. The hosts that they name are answered to besides `hosts`.

    `read_config` fills in what `[[gateway.routes]]` and the tables' `routes` say, `micro.config.load.load_stack` what the
    services themselves declare.
    """

    @property
    def routed_hosts(self) -> tuple[str, ...]:
        """The hosts that routes name."""
        return tuple(route.host for route in self.routes if route.host is not None)

    @property
    def extensions(self) -> tuple[str, ...]:
        """The import strings of all policies and middleware of the user's own."""
        tables: tuple[GatewaySpec | Route, ...] = (self, *self.routes)
        return tuple(target for table in tables for target in (*table.policies, *table.middleware))
