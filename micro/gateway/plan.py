"""What is in force: routes and policies, compiled into one immutable object that is replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.endpoints import PATHS, Endpoints
from micro.gateway.paths import MalformedPath, decoded, form_of
from micro.gateway.pipeline import Pipeline, admit, methods
from micro.gateway.policies.auth import Authentication
from micro.gateway.policies.cors import CrossOrigin
from micro.gateway.policies.framing import Framing
from micro.gateway.policies.hosts import KnownHost
from micro.gateway.policies.identity import Identification
from micro.gateway.policies.limits import BodyLimit
from micro.gateway.policies.loop import Loop
from micro.gateway.policies.rate_limit import RateLimit
from micro.gateway.refusals import refuse
from micro.gateway.routes import Router
from micro.security.peers import TrustedPeers
from micro.web.hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from micro.cache.ports import Window
    from micro.clock import Clock
    from micro.gateway.deadlines import Wheel
    from micro.gateway.entropy import Ids
    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import OnRequest, OnResponse, Policy, Verdict
    from micro.gateway.record import Recorder
    from micro.gateway.upstream.ports import Upstream
    from micro.gateway_spec import GatewaySpec, Route
    from micro.service import Verifier
    from micro.telemetry.metrics import Metrics

ENDPOINT_TIMEOUT = 15.0
"""Seconds for an answer of the gateway's own endpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What plans work with, and what outlives them."""

    name: str
    """The gateway's pseudonym in `Via`."""
    clock: Clock
    wheel: Wheel
    ids: Ids
    verifier: Verifier
    window: Window
    recorder: Recorder
    metrics: Metrics
    health: Callable[[], Mapping[str, str]]
    documents: Callable[[], Awaitable[Mapping[str, dict[str, Any]]]]


class Plan:
    """Routes with their pipelines. Immutable: a request holds on to the one that it began with.

    Raises `ConfigurationError` for what can't be served; nothing has changed then.
    """

    __slots__ = (
        "_readers",
        "clock",
        "entry",
        "global_policies",
        "own",
        "recorder",
        "responses",
        "router",
        "rows",
        "wheel",
    )

    def __init__(self, spec: GatewaySpec, upstreams: Mapping[str, Upstream], parts: Parts) -> None:
        self.clock, self.wheel, self.recorder = parts.clock, parts.wheel, parts.recorder
        self.global_policies = _global_policies(spec, parts)
        self.entry: tuple[OnRequest, ...] = methods(self.global_policies, "on_request")
        self.responses: tuple[OnResponse, ...] = methods(self.global_policies, "on_response")[::-1]
        self.router: Router[Pipeline] = Router()
        self._readers: Router[Pipeline] = Router()
        """The same routes as a reader finds them who decodes the whole path, as ASGI applications do."""
        self.rows: list[tuple[Route, Pipeline]] = []
        shared = [] if spec.rate_limit is None else [RateLimit(parts.window, spec.rate_limit)]
        for route in spec.routes:
            if route.service not in upstreams:
                raise ConfigurationError(f"no service is called {route.service!r}", key="gateway.routes")
            pipeline = Pipeline(
                self.global_policies,
                _policies(route, spec, parts, shared),
                upstream=upstreams[route.service],
                service=route.service,
                timeout=route.timeout,
            )
            form = _form(route.path)
            self.router.add(form, route.methods, pipeline)
            self._readers.add(decoded(form), route.methods, pipeline)
            self.rows.append((route, pipeline))
        self.own = self._endpoints(spec, parts)

    def admit(self, exchange: Exchange) -> Verdict:
        """Find the exchange's pipeline and pass its request through the policies. Nothing: it goes to the upstream."""
        for check in self.entry:
            answer = check(exchange)
            if answer is not None:
                return answer
        form = exchange.form
        pipeline = self.own.get(form)
        if pipeline is None:
            pipeline = self.router.match(form, exchange.method)
            if pipeline is None or (b"%" in form and self.is_ambiguous(form, exchange.method)):
                return self._refuse(exchange, pipeline)
        exchange.pipeline = pipeline
        return admit(pipeline.requests, exchange)

    def owner(self, method: str, path: str) -> str | None:
        """The service that a request is routed to."""
        try:
            pipeline = self.router.match(form_of(path.encode()), method)
        except MalformedPath:
            return None
        return None if pipeline is None else pipeline.service

    def is_ambiguous(self, form: bytes, method: str) -> bool:
        """Whether a reader who decodes the whole path, as ASGI applications do, would take another route."""
        return self._readers.match(decoded(form), method) is not self.router.match(form, method)

    def _refuse(self, exchange: Exchange, pipeline: Pipeline | None) -> Answer:
        if pipeline is not None:
            return refuse(exchange, 400, detail="Encoded characters in the path make its route ambiguous.")
        allowed = self.router.allowed(exchange.form)
        if not allowed:
            return refuse(exchange, 404, detail="No route leads there.")
        return refuse(
            exchange, 405, detail=f"{exchange.method} is not among the route's methods.", allow=allowed
        )

    def _endpoints(self, spec: GatewaySpec, parts: Parts) -> dict[bytes, Pipeline]:
        endpoints = Endpoints(
            health=parts.health,
            documents=parts.documents,
            owner=self.owner,
            metrics=parts.metrics,
            metrics_public=spec.metrics_public,
            clock=parts.clock,
        )
        pipeline = Pipeline(
            self.global_policies, (), upstream=endpoints, service="", timeout=ENDPOINT_TIMEOUT
        )
        return {path.encode("ascii"): pipeline for path in PATHS}


def _global_policies(spec: GatewaySpec, parts: Parts) -> list[Policy]:
    """What every request passes before its route is known."""
    policies: list[Policy] = [
        Identification(TrustedPeers(spec.trusted_proxies) if spec.trusted_proxies else None, parts.ids),
        Framing(),
        Loop(parts.name),
        KnownHost(Hosts(spec.hosts, bound=spec.host)),
    ]
    if spec.cors.origins:
        policies.append(CrossOrigin(spec.cors))
    return policies


def _policies(route: Route, spec: GatewaySpec, parts: Parts, shared: list[RateLimit]) -> list[Policy]:
    """What the requests of a route pass, in the fixed order."""
    policies: list[Policy] = [BodyLimit(spec.max_body if route.max_body is None else route.max_body)]
    if route.rate_limit is not None:
        name = " ".join((*sorted(route.methods or ()), route.path))
        policies.append(RateLimit(parts.window, route.rate_limit, name=name))
    else:
        policies += shared
    if route.auth != "none":
        policies.append(Authentication(parts.verifier, required=route.auth == "required"))
    return policies


def _form(path: str) -> bytes:
    """The form of a route's path. Raises `ConfigurationError`."""
    try:
        return form_of(path.encode())
    except MalformedPath as error:
        raise ConfigurationError(f"{path!r}: {error}", key="gateway.routes") from error
