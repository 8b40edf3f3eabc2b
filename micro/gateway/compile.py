"""From the settings to policies, in the fixed order of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.paths import MalformedPath, form_of
from micro.gateway.pipeline import Pipeline
from micro.gateway.policies.admission import Admission
from micro.gateway.policies.cors import CrossOrigin
from micro.gateway.policies.framing import Framing
from micro.gateway.policies.hosts import KnownHost
from micro.gateway.policies.identity import Identification
from micro.gateway.policies.limits import BodyLimit
from micro.gateway.policies.loop import Loop
from micro.gateway.policies.security_headers import SecurityHeaders
from micro.gateway.policies.shedding import Shedding
from micro.gateway.rules import Rule
from micro.security.peers import TrustedPeers
from micro.spec.validate import Place
from micro.web.hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.gateway.extensions import Extensions
    from micro.gateway.parts import Parts
    from micro.gateway.pipeline import Policy
    from micro.gateway.upstream.ports import Upstream
    from micro.spec.gateway import GatewaySpec, HeaderChanges, Route
    from micro.spec.upstream import BreakerSpec


class Compiler:
    """Makes the pipelines of one plan. Raises `ConfigurationError`, with file and key, for what can't be served."""

    def __init__(self, spec: GatewaySpec, upstreams: Mapping[str, Upstream], parts: Parts) -> None:
        self._spec = spec
        self._upstreams = upstreams
        self._parts = parts
        self._place = Place(parts.source, ("gateway",))
        self._extensions = _extensions(spec, parts, self._place)
        self.before = self._before()
        """The policies that every request passes before its route is known."""
        self._shedding: list[Policy] = (
            [Shedding(spec.max_requests, parts.in_hand)] if spec.max_requests else []
        )
        self._admission = Admission(spec, parts)

    def rules(self) -> list[tuple[Route, Rule[Pipeline]]]:
        """Each route with where it leads."""
        return [(route, self._rule(route, number)) for number, route in enumerate(self._spec.routes)]

    def _rule(self, route: Route, number: int) -> Rule[Pipeline]:
        place = self._place.at("routes", str(number))
        upstream = self._upstreams.get(route.service)
        if upstream is None:
            raise place.error(f"no service is called {route.service!r}")
        try:
            form = form_of(route.path.encode())
        except MalformedPath as error:
            raise place.at("path").error(f"{route.path!r}: {error}") from error
        try:
            policies = self._policies(route, form, number)
        except ConfigurationError as error:
            raise error if error.key else place.error(str(error)) from error
        pipeline = Pipeline(
            self.before,
            policies,
            upstream=self._behind(upstream, route, number),
            service=route.service,
            timeout=route.timeout,
            short=self._spec.adapter != "asgi",
        )
        return Rule(
            form,
            pipeline,
            methods=route.methods,
            exact=route.exact,
            host=route.host,
            conditions=(route.headers, route.query),
        )

    def _before(self) -> list[Policy]:
        spec, parts = self._spec, self._parts
        policies: list[Policy] = [
            Identification(TrustedPeers(spec.trusted_proxies) if spec.trusted_proxies else None, parts.ids),
            Framing(),
            Loop(parts.name),
            KnownHost(Hosts(spec.hosts, bound=spec.host, more=spec.routed_hosts)),
        ]
        if spec.security_headers:
            policies.append(SecurityHeaders())
        if spec.cors.origins:
            policies.append(CrossOrigin(spec.cors))
        return policies

    def _policies(self, route: Route, form: bytes, number: int) -> list[Policy]:
        spec = self._spec
        policies = [
            *self._shedding,
            BodyLimit(spec.max_body if route.max_body is None else route.max_body),
        ]
        policies += self._admission.policies(route)
        policies += _transformation(route, form, self._place.at("routes", str(number)))
        if self._extensions is not None:
            policies += self._extensions.policies(route, number)
        if route.breaker is not None and route.breaker.failure_rate:
            policies.append(_breaker(route.breaker, route, self._parts))
        return policies

    def _behind(self, upstream: Upstream, route: Route, number: int) -> Upstream:
        """The upstream behind the middleware of route and gateway, where there is some."""
        return upstream if self._extensions is None else self._extensions.behind(upstream, route, number)


def _extensions(spec: GatewaySpec, parts: Parts, place: Place) -> Extensions | None:
    if not spec.extensions:
        return None
    from micro.gateway.extensions import Extensions  # noqa: PLC0415 # loaded when first used: many stacks have none

    return Extensions(spec, parts.root, place)


def _breaker(spec: BreakerSpec, route: Route, parts: Parts) -> Policy:
    from micro.gateway.policies.breaker import RouteBreaker  # noqa: PLC0415 # loaded when first used: few routes have one

    name = " ".join((*sorted(route.methods or ()), (route.host or "") + route.path))
    return RouteBreaker(spec, parts.clock, name=name, metrics=parts.metrics)


def _transformation(route: Route, form: bytes, place: Place) -> list[Policy]:
    changes = {"request_headers": route.request_headers, "response_headers": route.response_headers}
    if route.rewrite is None and not route.strip_prefix and not any(map(_any, changes.values())):
        return []
    # Loaded when first used: few routes change anything.
    from micro.gateway.policies.transform import PathChange, RequestHeaders, ResponseHeaders  # noqa: PLC0415 # as said

    policies: list[Policy] = []
    if route.rewrite is not None or route.strip_prefix:
        policies.append(PathChange(form, (route.rewrite or "/").encode()))
    for (key, change), kind in zip(changes.items(), (RequestHeaders, ResponseHeaders), strict=True):
        try:
            policies += [kind(change)] if _any(change) else []
        except ConfigurationError as error:
            raise place.at(key).error(str(error)) from error
    return policies


def _any(changes: HeaderChanges) -> bool:
    return bool(changes.remove or changes.set or changes.add)
