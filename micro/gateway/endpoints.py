"""The gateway's own endpoints: `/health`, `/docs`, `/openapi.json`, `/metrics`. An upstream like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.openapi import merged
from micro.gateway.upstream.local import scope_of
from micro.web.docs import DOCS, docs_asset, docs_page
from micro.web.exposition import metrics_response
from micro.web.health import stack_health
from micro.web.problems import Problem, problem_response
from micro.web.responses import JsonResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from starlette.responses import Response

    from micro.clock import Clock
    from micro.gateway.exchange import Exchange
    from micro.gateway.openapi import Reached
    from micro.gateway.upstream.ports import Receive, Send
    from micro.telemetry.metrics import Metrics

PATHS = frozenset({"/health", "/metrics", "/openapi.json", *DOCS})
"""What the gateway answers itself, whatever the routes say."""


class Endpoints:
    """Health from the background verdicts, one document over all services, the documentation, the metrics.

    `/metrics` is for clients on this machine, unless `metrics_public`. They take GET and HEAD.
    """

    def __init__(
        self,
        *,
        health: Callable[[], Mapping[str, str]],
        documents: Callable[[], Awaitable[Mapping[str, dict[str, Any]]]],
        reach: Reached,
        metrics: Metrics,
        metrics_public: bool,
        clock: Clock,
    ) -> None:
        self._health = health
        self._documents = documents
        self._reach = reach
        self._metrics = metrics
        self._metrics_public = metrics_public
        self._clock = clock

    async def serve(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """See `Upstream.serve`."""
        if exchange.scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        scope = scope_of(exchange)
        try:
            response = await self._respond(scope)
        except Problem as problem:
            response = problem_response(problem, exchange.request_id)
        await response(scope, receive, send)

    async def _respond(self, scope: dict[str, Any]) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            raise Problem(405, headers={"Allow": "GET, HEAD"})
        path = scope["path"]
        if path == "/health":
            return stack_health(self._health(), self._clock)
        if path == "/metrics":
            return metrics_response(scope, self._metrics, public=self._metrics_public)
        if path == "/openapi.json":
            return JsonResponse(merged(await self._documents(), self._reach))
        return docs_page("micro") if path == "/docs" else docs_asset(path)
