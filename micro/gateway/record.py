"""What is kept of every exchange: a line in the access log, and the metrics."""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING

from micro.gateway.routes import METHODS
from micro.telemetry.access import AccessRecord

if TYPE_CHECKING:
    from micro.clock import Clock
    from micro.gateway.exchange import Exchange
    from micro.gateway.pipeline import OnEnd
    from micro.telemetry.access import AccessLog
    from micro.telemetry.metrics import Distribution, Metrics, Series

_FRESH = 0.0005
"""Seconds for which a reading of the wall clock is good enough for the log."""
_WHOLE = 2.0**52
"""No float from here on has a fraction: who adds it and takes it off again has rounded, at a tenth of what `round` costs."""

logger = logging.getLogger("micro.gateway")


class Recorder:
    """Writes access records, counts, and tells policies that an exchange has ended.

    `micro_gateway_requests_total` and `micro_gateway_request_seconds` say how many and how long, and
    `micro_gateway_received_bytes_total` and `micro_gateway_sent_bytes_total` how large the bodies were. The label
    `service` is the upstream's name, or `gateway` where no route was found or an endpoint answered.
    `micro_gateway_errors_total` counts the answers that the gateway gave in a service's place, refusals above all, and
    those broken off; `micro_gateway_in_flight` is how many requests are under way. No label has a value that a client
    could make up.
    """

    __slots__ = (
        "_clock",
        "_counts",
        "_ended",
        "_errors",
        "_failures",
        "_moment",
        "_monotonic",
        "_received",
        "_seconds",
        "_sent",
        "_series",
        "_stale",
        "begun",
        "log",
    )

    def __init__(self, log: AccessLog | None, metrics: Metrics, clock: Clock) -> None:
        self.log = log
        """Nothing: no log is kept."""
        self.begun = 0
        """How many exchanges came; who admits one counts it."""
        self._ended = 0
        self._clock = clock
        self._monotonic = clock.monotonic
        self._moment = clock.now()
        self._stale = float("-inf")
        """When the wall clock has to be read again."""
        self._counts = metrics.counter(
            "micro_gateway_requests_total",
            "Requests answered at the gateway.",
            ("service", "method", "status"),
        )
        self._seconds = metrics.histogram(
            "micro_gateway_request_seconds", "From request to the end of the answer.", ("service",)
        )
        self._received = metrics.counter(
            "micro_gateway_received_bytes_total", "Bytes of requests' bodies.", ("service",)
        )
        self._sent = metrics.counter(
            "micro_gateway_sent_bytes_total", "Bytes of answers' bodies.", ("service",)
        )
        self._failures = metrics.counter(
            "micro_gateway_errors_total",
            "Answers in a service's place, by status and RFC 9209 error type.",
            ("service", "status", "error"),
        )
        metrics.gauge("micro_gateway_in_flight", "Requests under way.").labels().watch(self._in_flight)
        self._series: dict[tuple[str, str, int], tuple[Series, Distribution, Series, Series]] = {}
        self._errors: dict[tuple[str, int, str], Series] = {}

    def record(self, exchange: Exchange, ends: tuple[OnEnd, ...] = ()) -> None:
        """Keep what there is to say about an exchange that has ended: once for each that was admitted.

        `ends` are the hooks of the plan, for an exchange that found no route.
        """
        monotonic = self._monotonic  # a callable kept in a slot is called faster by a name
        now = exchange.ended = monotonic()
        seconds = now - exchange.started
        self._ended += 1
        pipeline = exchange.pipeline
        if pipeline is None:
            upstream = ""
        else:
            upstream, ends = pipeline.service, pipeline.ends
        for hook in ends:
            try:
                hook(exchange)
            except Exception:
                logger.exception("a policy failed at the end of a request")
        if self.log is not None:
            if now >= self._stale:
                self._moment, self._stale = self._clock.now(), now + _FRESH
            self._write(self.log, exchange, upstream, seconds)
        key = (upstream, exchange.method, exchange.status)
        requests, spans, received, sent = self._series.get(key) or self._look_up(key)
        requests.amount += 1.0
        spans.counts[bisect_left(spans.bounds, seconds)] += 1
        spans.total += seconds
        if exchange.received:
            received.amount += exchange.received
        sent.amount += exchange.sent
        if exchange.error:
            self._count_error((upstream, exchange.status, exchange.error))

    def _write(self, log: AccessLog, exchange: Exchange, upstream: str, seconds: float) -> None:
        """Everything by its place: a record is made in a fifth of the time that names would take."""
        identity, waited = exchange.identity, exchange.upstream_seconds
        log.write(
            AccessRecord(
                self._moment,
                exchange.request_id,
                exchange.correlation_id,
                exchange.method,
                exchange.path.decode("latin-1"),
                exchange.status,
                (seconds * 1_000_000.0 + _WHOLE - _WHOLE) / 1000.0,
                "gateway",
                exchange.traceparent[3:35].decode("ascii"),
                exchange.client,
                exchange.sent,
                upstream,
                exchange.received,
                exchange.error,
                exchange.instance,
                exchange.tries,
                (waited * 1_000_000.0 + _WHOLE - _WHOLE) / 1000.0 if waited else None,
                "" if identity is None else identity.subject,
            )
        )

    def _look_up(self, key: tuple[str, str, int]) -> tuple[Series, Distribution, Series, Series]:
        upstream, method, status = key
        service = upstream or "gateway"
        known = method in METHODS
        series = (
            self._counts.labels(service, method if known else "other", str(status)),
            self._seconds.labels(service),
            self._received.labels(service),
            self._sent.labels(service),
        )
        if known:  # a stranger's methods fill no table
            self._series[key] = series
        return series

    def _count_error(self, key: tuple[str, int, str]) -> None:
        series = self._errors.get(key)
        if series is None:
            upstream, status, error = key
            series = self._errors[key] = self._failures.labels(upstream or "gateway", str(status), error)
        series.inc()

    def _in_flight(self) -> float:
        return self.begun - self._ended
