"""The gateway as an ASGI application: the adapter that runs under any server, and the readable specification."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.gateway.deadlines import Wheel
from micro.gateway.entropy import Ids
from micro.gateway.exchange import Exchange
from micro.gateway.http import TELLS_OF_LEAVING, HttpFlow, TellingHttpFlow
from micro.gateway.parts import Parts
from micro.gateway.paths import encoded
from micro.gateway.plan import Plan
from micro.gateway.policies.cors import CrossOrigin
from micro.gateway.policies.shedding import InHand
from micro.gateway.record import Recorder
from micro.gateway.refusals import UNREADABLE
from micro.gateway.websocket import WebSocketFlow
from micro.telemetry.metrics import Metrics
from micro.web.lifespan import answer_lifespan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from micro.cache.ports import Window
    from micro.clock import Clock
    from micro.gateway.headers import Pair
    from micro.gateway.pipeline import Verdict
    from micro.gateway.transit import Transit
    from micro.gateway.upstream.ports import Receive, Send, Upstream
    from micro.security.stack_key import Signer
    from micro.service import ASGIApp, Verifier
    from micro.spec.gateway import GatewaySpec
    from micro.telemetry.access import AccessLog


@dataclass(eq=False)
class Gateway:
    """One `Exchange` through its route's compiled pipeline to an upstream; every error is a problem body.

    `upstreams` are the services by name. `health` tells the background verdict on each service, `documents` each
    service's OpenAPI document. Nothing runs before the first request. Raises `ConfigurationError` for a specification
    that can't be served.
    """

    spec: GatewaySpec
    _: KW_ONLY
    upstreams: Mapping[str, Upstream]
    verifier: Verifier
    window: Window
    clock: Clock
    access_log: AccessLog
    health: Callable[[], Mapping[str, str]]
    documents: Callable[[], Awaitable[Mapping[str, dict[str, Any]]]]
    metrics: Metrics = field(default_factory=Metrics)
    wheel: Wheel | None = None
    """Shared with the upstreams on the network; closed with the gateway."""
    signer: Signer | None = None
    root: Path = Path()
    """Where the modules lie that policies and middleware are imported from, and what messages call their file."""
    source: str = ""
    plan: Plan = field(init=False, repr=False)
    """What is in force."""

    def __post_init__(self) -> None:
        self._parts = Parts(
            name=f"micro-{self.clock.randbits(48):012x}",
            clock=self.clock,
            wheel=self.wheel or Wheel(self.clock),
            ids=Ids(self.clock),
            verifier=self.verifier,
            signer=self.signer,
            window=self.window,
            recorder=Recorder(self.access_log, self.metrics, self.clock),
            in_hand=InHand(self.metrics),
            metrics=self.metrics,
            health=self.health,
            documents=self.documents,
            root=self.root,
            source=self.source,
        )
        self.reconfigure(self.spec)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        kind = scope["type"]
        if kind == "http":
            flow = (
                HttpFlow if scope["asgi"].get("spec_version", "2.0") < TELLS_OF_LEAVING else TellingHttpFlow
            )
            await flow(self.plan, _asked(scope, self.clock), receive, send).run()
        elif kind == "websocket":
            await WebSocketFlow(self.plan, _asked(scope, self.clock), receive, send).run()
        else:
            await answer_lifespan(scope, receive, send)

    def resume(self, exchange: Transit, verdict: Verdict) -> ASGIApp:
        """The application for an exchange that another adapter has admitted, with this verdict: no policy sees it twice.

        It goes on by the plan that it was admitted by.
        """

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            if exchange.over:  # a handshake whose client has closed at once
                return
            kind = HttpFlow if scope["type"] == "http" else WebSocketFlow
            exchange.scope = scope
            await kind(exchange.plan, exchange, receive, send).run(verdict)

        return app

    def unread(self, headers: Sequence[Pair]) -> list[Pair]:
        """What a refusal says besides, of a request that can't be read; `headers`: as much of its header as came."""
        origins = [value for name, value in headers if name == b"origin"]
        fields = [UNREADABLE]
        for policy in self.plan.global_policies:
            if isinstance(policy, CrossOrigin):
                fields += policy.verdict(origins[0] if len(origins) == 1 else None)
        return fields

    def reconfigure(self, spec: GatewaySpec, upstreams: Mapping[str, Upstream] | None = None) -> None:
        """Put another specification in force, all of it or, raising `ConfigurationError`, nothing of it.

        Requests in flight finish by the one they began with. Without `upstreams` they stay the same.
        """
        chosen = self.upstreams if upstreams is None else upstreams
        self.plan = Plan(spec, chosen, self._parts)
        self.spec, self.upstreams = spec, chosen
        self._parts.recorder.log = self.access_log if spec.access_log else None

    def table(self) -> list[dict[str, Any]]:
        """See `micro.gateway.explain.table`."""
        from micro.gateway.explain import table  # noqa: PLC0415 # loaded when first used: nobody waits for it

        return table(self.plan)

    def explain(self, method: str, path: str, *, headers: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
        """See `micro.gateway.explain.explain`."""
        from micro.gateway.explain import explain  # noqa: PLC0415 # as above

        return explain(self.plan, method, path, headers=headers)

    async def close(self) -> None:
        """Stop keeping deadlines. Call it when no request is left."""
        await self._parts.wheel.close()


def _asked(scope: dict[str, Any], clock: Clock) -> Exchange:
    """The exchange that begins with an ASGI scope."""
    path = scope.get("raw_path")
    if not path:
        path = encoded(scope["path"]) if path is None else b"/"
    exchange = Exchange(scope.get("method", "GET"), path, scope["headers"])
    exchange.started = exchange.began = clock.monotonic()
    exchange.scope = scope
    exchange.query = scope["query_string"]
    exchange.version = scope["http_version"]
    exchange.scheme = scope["scheme"]
    exchange.peer = scope.get("client")
    return exchange
