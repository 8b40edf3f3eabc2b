"""The wrapper round every service's app: resources, context, Host, health, metrics, and the last word on errors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from micro.context import Context, current
from micro.web.docs import DOCS, document_response
from micro.web.exposition import metrics_response
from micro.web.health import PATHS, alive, readiness
from micro.web.hosts import Hosts
from micro.web.incoming import arrival, scheme_of
from micro.web.problems import Problem, problem_response, to_problem
from micro.web.responses import WithoutBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from micro.security.peers import TrustedPeers
    from micro.service import Resources
    from micro.telemetry.metrics import Metrics, Series

logger = logging.getLogger(__name__)

_OWN = PATHS | {"/metrics"}
_OURS_ON_404 = DOCS | {"/openapi.json"}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_IDS = frozenset({b"x-request-id", b"x-correlation-id"})


class ServiceApp:
    """An ASGI app as the runner serves it.

    - `resources` are in ``scope["state"]["micro"]``, and `micro.context.current` is set: from ``scope["micro.context"]``
      where a caller in this process put it, else from the request's headers; in that case ``X-Request-ID`` and
      ``X-Correlation-ID`` are echoed. Unless the stack itself sent it (see `micro.web.incoming.arrival`; `peers` are the
      proxies in front of its gateway), `hosts` decides which ``Host`` gets 400, and no field says who the user is.
    - ``/health`` and ``/health/ready`` (exempt from that) and ``/metrics`` are answered here. `ready` says why the service
      should get no traffic, nothing when it may. Metrics are for this machine only, unless `metrics_public`.
    - ``/docs`` and ``/openapi.json`` are answered here where the app answers 404.
    - An exception becomes a problem; once the response has started it goes on to the server, which breaks the connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        resources: Resources,
        *,
        metrics: Metrics,
        ready: Callable[[], str | None],
        hosts: Hosts | None = None,
        metrics_public: bool = False,
    ) -> None:
        self.app = app
        self.resources = resources
        self._metrics = metrics
        self._metrics_public = metrics_public
        self._ready = ready
        self._hosts = hosts or Hosts()
        self.peers: TrustedPeers | None = None
        """The proxies in front of the gateway, where there are any."""
        self._requests = metrics.counter(
            "micro_requests_total", "Requests answered by a service.", ("service", "method", "status")
        )
        self._seconds = metrics.histogram(
            "micro_request_seconds", "From request to the end of the answer.", ("service",)
        ).labels(resources.name)
        self._counters: dict[tuple[str, int], Series] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of any kind."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(send)
        started = self.resources.clock.monotonic()
        context: Context | None = scope.get("micro.context")
        refusal = None
        if context is None:
            context, refusal = await self._receive(scope, exchange)
        token = current.set(context)
        try:
            await self._serve(scope, receive, exchange, refusal)
        finally:
            current.reset(token)
            if exchange.status:
                self._count(scope["method"], exchange.status)
                self._seconds.observe(self.resources.clock.monotonic() - started)

    async def _receive(self, scope: Scope, exchange: _Exchange) -> tuple[Context, str | None]:
        resources = self.resources
        sent = await arrival(scope, resources.verifier, resources.clock, peers=self.peers)
        context = sent.context
        exchange.ids = [
            (b"x-request-id", (context.request_id or "").encode()),
            (b"x-correlation-id", context.correlation_id.encode()),
        ]
        exempt = sent.ours or scope["path"] in PATHS
        refusal = None if exempt else self._hosts.refusal(scope["headers"])
        scope["headers"], scope["client"] = sent.headers, sent.client
        if sent.ours:
            scope["scheme"] = scheme_of(scope, sent.headers)
        return context, refusal

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange, refusal: str | None) -> None:
        scope["state"] = {**scope.get("state", {}), "micro": self.resources}
        if scope["type"] == "websocket":
            if refusal is None:
                await self.app(scope, receive, exchange.send)
            else:
                await exchange.send({"type": "websocket.close", "code": 1008, "reason": refusal})
            return
        try:
            if refusal is not None:
                raise Problem(400, detail=refusal)  # noqa: TRY301 # one way to answer every problem
            await self._dispatch(scope, receive, exchange)
        except ClientDisconnect:
            return
        except Exception as error:
            if not exchange.status:
                await _send(problem_response(to_problem(error)), scope, receive, exchange)
            elif exchange.complete:
                logger.exception("%s failed after its answer", self.resources.name)
            else:
                raise

    async def _dispatch(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        path = scope["path"]
        if path in _OWN:
            response = self._own(scope, path)
            await _send(response, scope, receive, exchange)
        elif path in _OURS_ON_404 and scope["method"] in {"GET", "HEAD"}:
            attempt = _Unless404(exchange.send)
            await self.app(scope, receive, attempt.send)
            if attempt.missing:
                ours = document_response(path, self.resources.name, self._empty_document)
                await _send(ours, scope, receive, exchange)
        else:
            await self.app(scope, receive, exchange.send)

    def _own(self, scope: Scope, path: str) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            raise Problem(405, headers={"Allow": "GET, HEAD"})
        if path == "/metrics":
            return metrics_response(scope, self._metrics, public=self._metrics_public)
        name, clock = self.resources.name, self.resources.clock
        return alive(name, clock) if path == "/health" else readiness(name, self._ready(), clock)

    def _empty_document(self) -> dict[str, Any]:
        info = {"title": self.resources.name, "version": "0"}
        return {"openapi": "3.1.0", "info": info, "paths": {}}

    def _count(self, method: str, status: int) -> None:
        series = self._counters.get((method, status))
        if series is None:
            known = method if method in _METHODS else "other"
            series = self._requests.labels(self.resources.name, known, str(status))
            if method in _METHODS:
                self._counters[method, status] = series
        series.inc()


class _Exchange:
    """Watches one response go out; adds the ids to its head where nobody in front does."""

    __slots__ = ("_send", "complete", "ids", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.complete = False
        self.ids: list[tuple[bytes, bytes]] | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.ids is not None:
                headers = [pair for pair in message.get("headers", ()) if pair[0] not in _IDS]
                message = {**message, "headers": [*headers, *self.ids]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)


class _Unless404:
    """Passes a response on unless it is a 404."""

    __slots__ = ("_send", "missing")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.missing = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.missing = message["status"] == 404
        if not self.missing:
            await self._send(message)


async def _send(response: Response, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
    head_only = scope["method"] == "HEAD"
    await response(scope, receive, WithoutBody(exchange.send).send if head_only else exchange.send)
