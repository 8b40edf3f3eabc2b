"""Stops sending a route's requests where most of them fail."""

from __future__ import annotations

import logging
import weakref
from math import ceil
from typing import TYPE_CHECKING

from micro.gateway.refusals import BAD_REQUEST, DENIED, INTERNAL, refuse_by
from micro.gateway.upstream.breaker import CLOSED, OPEN, Breaker
from micro.web.problems import Problem

if TYPE_CHECKING:
    from micro.clock import Clock
    from micro.gateway.exchange import Answer, Exchange
    from micro.spec.upstream import BreakerSpec
    from micro.telemetry.metrics import Metrics

logger = logging.getLogger("micro.gateway")

UNAVAILABLE = "destination_unavailable"
_FAILED = frozenset({502, 503, 504})
_CLIENT_LEFT = 499
_NEUTRAL = frozenset({BAD_REQUEST, DENIED, INTERNAL, UNAVAILABLE, "connection_limit_reached"})
"""Error types of answers that tell nothing of the service: it was not asked, or the client is to blame."""


_BEFORE, _NOW = float("-inf"), float("inf")


class RouteBreaker:
    """503 with `Retry-After` while the route's circuit breaker is open; see `upstream.breaker.Breaker`.

    A request has failed where it ended with 502, 503 or 504, whoever said so, or was broken off; an application's 500
    is an answer. Stands last among a route's policies, so that it counts what went to the service and nothing else.
    A new plan begins with a closed one.
    """

    __slots__ = ("_breaker", "_monotonic", "_name", "_openings", "_spec", "_trial")

    def __init__(self, spec: BreakerSpec, clock: Clock, *, name: str, metrics: Metrics) -> None:
        """`name` is what logs and metrics call the route."""
        self._spec = spec
        self._monotonic = clock.monotonic
        self._name = name
        self._breaker = Breaker(spec)
        self._trial: object | None = None
        """The ids of the request that decides whether it closes: another adapter may go on with it as another object."""
        self._openings = metrics.counter(
            "micro_route_breaker_openings_total", "Breakers of routes that opened.", ("route",)
        ).labels(name)
        states = metrics.gauge(
            "micro_route_breaker_state", "A route's breaker: 0 closed, 1 open, 2 half-open.", ("route",)
        )
        own = weakref.ref(self._breaker)  # a gauge must not keep what a reload has replaced
        states.labels(name).watch(lambda: _state(own()))

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Let it go on, or refuse it."""
        breaker = self._breaker
        if breaker.state != CLOSED:
            now = self._monotonic()
            if not breaker.admits(now):
                return self._refuse(exchange, breaker.until - now)
            breaker.tried(now)
            self._trial = exchange.ids
        exchange.breaker = self
        return None

    def on_end(self, exchange: Exchange) -> None:
        """Learn how it ended."""
        if exchange.breaker is not self:
            return
        exchange.breaker = None
        breaker = self._breaker
        if (
            breaker.state == CLOSED and 200 <= exchange.status < 499 and not exchange.error
        ):  # most of the time
            window = breaker.window
            if exchange.ended >= window.turn:
                window.roll(exchange.ended)
            window.requests += 1
            return
        # A request that is not the trial began, for all that the breaker cares, before it opened.
        began = _BEFORE
        if exchange.ids is self._trial:
            began, self._trial = _NOW, None
        if breaker.ended(exchange.ended, began, failed=outcome(exchange)):
            self._turned()

    def _refuse(self, exchange: Exchange, wait: float) -> Answer:
        headers = {"Retry-After": str(max(1, ceil(wait)))}
        detail = "The service is not available at this moment."
        return refuse_by(exchange, Problem(503, detail=detail, headers=headers), kind=UNAVAILABLE)

    def _turned(self) -> None:
        state = self._breaker.state
        if state == OPEN:
            self._openings.inc()
            logger.warning("%s: the breaker opened: most of the requests fail", self._name)
        elif state == CLOSED:
            logger.info("%s: the breaker closed", self._name)

    def __str__(self) -> str:
        spec = self._spec
        return (
            f"breaker: opens for {spec.open:g} s when {spec.failure_rate} % of the requests in {spec.window:g} s fail, "
            f"of {spec.requests} at least"
        )


def outcome(exchange: Exchange) -> bool | None:
    """Whether a request failed for its service's sake; `None` where its end says nothing of the service."""
    if exchange.error:
        return None if exchange.error in _NEUTRAL else True
    if exchange.status in (0, _CLIENT_LEFT):
        return None
    return exchange.status in _FAILED


def _state(breaker: Breaker | None) -> float:
    return CLOSED if breaker is None else breaker.state
