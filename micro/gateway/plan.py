"""What is in force: routes and policies, compiled into one immutable object that is replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import ConfigurationError
from micro.gateway.compile import Compiler
from micro.gateway.endpoints import PATHS, Endpoints
from micro.gateway.paths import PLAIN, decoded
from micro.gateway.pipeline import Pipeline, admit, methods
from micro.gateway.reach import Reach
from micro.gateway.refusals import refuse
from micro.gateway.routes import Router
from micro.spec.validate import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.known import Way
    from micro.gateway.parts import Parts
    from micro.gateway.pipeline import OnEnd, OnRequest, OnResponse, Verdict
    from micro.gateway.rules import Rule
    from micro.gateway.upstream.ports import Upstream
    from micro.spec.gateway import GatewaySpec, Route

ENDPOINT_TIMEOUT = 15.0
"""Seconds for an answer of the gateway's own endpoints."""


class Plan:
    """Routes with their pipelines. Immutable: a request holds on to the one that it began with.

    `router` finds a request's route. `_readers` has the same routes as a reader finds them who decodes the whole path, as
    ASGI applications do, and takes the last of repeated parameters.

    Raises `ConfigurationError` for what can't be served; nothing has changed then.
    """

    __slots__ = (
        "_readers",
        "_reads_query",
        "clock",
        "ends",
        "entry",
        "global_policies",
        "monotonic",
        "own",
        "recorder",
        "responses",
        "router",
        "rows",
        "short",
        "spec",
        "upstreams",
        "wheel",
    )

    def __init__(self, spec: GatewaySpec, upstreams: Mapping[str, Upstream], parts: Parts) -> None:
        self.clock, self.wheel, self.recorder = parts.clock, parts.wheel, parts.recorder
        self.monotonic = parts.clock.monotonic
        self.spec, self.upstreams = spec, upstreams
        compiler = Compiler(spec, upstreams, parts)
        self.global_policies = compiler.before
        self.entry: tuple[OnRequest, ...] = methods(compiler.before, "on_request")
        self.responses: tuple[OnResponse, ...] = methods(compiler.before, "on_response")[::-1]
        self.ends: tuple[OnEnd, ...] = methods(compiler.before, "on_end")
        """For exchanges without a pipeline."""
        found = compiler.rules()
        self.rows: list[tuple[Route, Pipeline]] = [(route, rule.target) for route, rule in found]
        self.short = any(pipeline.direct is not None for _, pipeline in self.rows)
        """Whether a request could take the short path."""
        rules = [rule for _, rule in found]
        try:
            self.router: Router[Pipeline] = Router(rules)
            self._readers: Router[Pipeline] = Router(map(_as_read, rules), last=True)
        except ConfigurationError as error:
            raise Place(parts.source, ("gateway", "routes")).error(str(error)) from error
        self._reads_query = self.router.reads_query
        self.own = self._endpoints(spec, parts)

    def admit(self, exchange: Exchange) -> Verdict:
        """Find the exchange's pipeline and pass its request through the policies. Nothing: it goes to the upstream."""
        self.recorder.begun += 1
        for check in self.entry:
            answer = check(exchange)
            if answer is not None:
                return answer
        form = exchange.form
        pipeline = self.own.get(form)
        if pipeline is None:
            pipeline = self.router.match(form, exchange)
            if pipeline is None or (
                (b"%" in form or (self._reads_query and b"&" in exchange.query))
                and self.is_ambiguous(form, exchange)
            ):
                return self.refuse(exchange, pipeline)
        exchange.pipeline = pipeline
        return admit(pipeline.requests, exchange)

    def way(self, exchange: Exchange) -> Way | None:
        """The way of a request before with the same header and method, where this one leads there, too."""
        known, path = exchange.known, exchange.path
        if (
            known is None
            or not known.ways
            or path.translate(None, PLAIN)
            or b"/." in path
            or path in self.own
            or (self._reads_query and b"&" in exchange.query)
        ):
            return None
        way = known.ways.get(self.router.match(path, exchange))
        return way if way is not None and way.method == exchange.method else None

    def is_ambiguous(self, form: bytes, exchange: Exchange) -> bool:
        """Whether another reader of the same request would take another route."""
        return self._readers.match(decoded(form), exchange) is not self.router.match(form, exchange)

    def refuse(self, exchange: Exchange, pipeline: Pipeline | None) -> Answer:
        """The answer where there is no route, or one that is not the only one a reader could find."""
        if pipeline is not None:
            what = (
                "Encoded characters in the path make"
                if b"%" in exchange.form
                else "A repeated parameter makes"
            )
            return refuse(exchange, 400, detail=f"{what} the request's route ambiguous.")
        allowed = self.router.allowed(exchange.form, exchange)
        if not allowed:
            return refuse(exchange, 404, detail="No route leads there.")
        return refuse(
            exchange, 405, detail=f"{exchange.method} is not among the route's methods.", allow=allowed
        )

    def _endpoints(self, spec: GatewaySpec, parts: Parts) -> dict[bytes, Pipeline]:
        endpoints = Endpoints(
            health=parts.health,
            documents=parts.documents,
            reach=Reach(self.rows, self.router),
            metrics=parts.metrics,
            metrics_public=spec.metrics_public,
            clock=parts.clock,
        )
        pipeline = Pipeline(
            self.global_policies, (), upstream=endpoints, service="", timeout=ENDPOINT_TIMEOUT, short=False
        )
        return {path.encode("ascii"): pipeline for path in PATHS}


def _as_read(rule: Rule[Pipeline]) -> Rule[Pipeline]:
    return rule.at(decoded(rule.path))
