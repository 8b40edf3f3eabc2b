"""The gateway as an ASGI application: the adapter that runs under any server, and the readable specification."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from micro.gateway.deadlines import Wheel
from micro.gateway.entropy import Ids
from micro.gateway.explain import explain, table
from micro.gateway.http import TELLS_OF_LEAVING, HttpFlow, TellingHttpFlow
from micro.gateway.plan import Parts, Plan
from micro.gateway.record import Recorder
from micro.gateway.websocket import WebSocketFlow
from micro.telemetry.metrics import Metrics
from micro.web.lifespan import answer_lifespan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from micro.cache.ports import Window
    from micro.clock import Clock
    from micro.gateway.upstream.ports import Receive, Send, Upstream
    from micro.gateway_spec import GatewaySpec
    from micro.service import Verifier
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

    def __post_init__(self) -> None:
        self._parts = Parts(
            name=f"micro-{self.clock.randbits(48):012x}",
            clock=self.clock,
            wheel=Wheel(self.clock),
            ids=Ids(self.clock),
            verifier=self.verifier,
            window=self.window,
            recorder=Recorder(self.access_log, self.metrics, self.clock),
            metrics=self.metrics,
            health=self.health,
            documents=self.documents,
        )
        self._plan = Plan(self.spec, self.upstreams, self._parts)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        kind = scope["type"]
        if kind == "http":
            flow = (
                HttpFlow if scope["asgi"].get("spec_version", "2.0") < TELLS_OF_LEAVING else TellingHttpFlow
            )
            await flow(self._plan, scope, receive, send).run()
        elif kind == "websocket":
            await WebSocketFlow(self._plan, scope, receive, send).run()
        else:
            await answer_lifespan(scope, receive, send)

    def reconfigure(self, spec: GatewaySpec, upstreams: Mapping[str, Upstream] | None = None) -> None:
        """Put another specification in force, all of it or, raising `ConfigurationError`, nothing of it.

        Requests in flight finish by the one they began with. Without `upstreams` they stay the same.
        """
        chosen = self.upstreams if upstreams is None else upstreams
        self._plan = Plan(spec, chosen, self._parts)
        self.spec, self.upstreams = spec, chosen

    def table(self) -> list[dict[str, Any]]:
        """See `micro.gateway.explain.table`."""
        return table(self._plan)

    def explain(self, method: str, path: str) -> dict[str, Any]:
        """See `micro.gateway.explain.explain`."""
        return explain(self._plan, method, path)

    async def close(self) -> None:
        """Stop keeping deadlines. Call it when no request is left."""
        await self._parts.wheel.close()
