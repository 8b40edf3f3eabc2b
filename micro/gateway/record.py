"""What is kept of every exchange: a line in the access log, and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.routes import METHODS
from micro.telemetry.access import AccessRecord

if TYPE_CHECKING:
    from micro.clock import Clock
    from micro.gateway.exchange import Exchange
    from micro.telemetry.access import AccessLog
    from micro.telemetry.metrics import Distribution, Metrics, Series


class Recorder:
    """Writes access records and counts: `micro_gateway_requests_total`, `micro_gateway_request_seconds`.

    The label `service` is the upstream's name, or `gateway` where no route was found or an endpoint answered.
    `micro_gateway_errors_total` counts the answers that the gateway gave in a service's place, and those broken off.
    """

    __slots__ = ("_clock", "_counts", "_failures", "_log", "_seconds", "_series")

    def __init__(self, log: AccessLog, metrics: Metrics, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._counts = metrics.counter(
            "micro_gateway_requests_total",
            "Requests answered at the gateway.",
            ("service", "method", "status"),
        )
        self._seconds = metrics.histogram(
            "micro_gateway_request_seconds", "From request to the end of the answer.", ("service",)
        )
        self._failures = metrics.counter(
            "micro_gateway_errors_total", "Answers in a service's place, by RFC 9209 error type.", ("error",)
        )
        self._series: dict[tuple[str, str, int], tuple[Series, Distribution]] = {}

    def record(self, exchange: Exchange) -> None:
        """Keep what there is to say about an exchange that has ended."""
        seconds = self._clock.monotonic() - exchange.started
        pipeline = exchange.pipeline
        upstream = pipeline.service if pipeline is not None else ""
        self._log.write(
            AccessRecord(
                time=self._clock.now(),
                request_id=exchange.request_id,
                correlation_id=exchange.correlation_id,
                method=exchange.method,
                path=exchange.path.decode("latin-1"),
                status=exchange.status,
                duration_ms=int(seconds * 1_000_000) / 1000,
                trace_id=exchange.traceparent[3:35],
                client=exchange.client,
                bytes=exchange.sent,
                upstream=upstream,
            )
        )
        key = (upstream, exchange.method, exchange.status)
        series = self._series.get(key) or self._look_up(key)
        series[0].inc()
        series[1].observe(seconds)
        if exchange.error:
            self._failures.labels(exchange.error).inc()

    def _look_up(self, key: tuple[str, str, int]) -> tuple[Series, Distribution]:
        upstream, method, status = key
        service = upstream or "gateway"
        known = method in METHODS
        counter = self._counts.labels(service, method if known else "other", str(status))
        series = (counter, self._seconds.labels(service))
        if known:  # a stranger's methods fill no table
            self._series[key] = series
        return series
