"""Health answers: of a service, and of a whole stack at the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from micro.clock import rfc3339
from micro.web.responses import JsonResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.clock import Clock

Verdict: TypeAlias = Literal["healthy", "degraded", "unhealthy"]
PATHS = frozenset({"/health", "/health/ready"})
"""Of a service. Asked by probes, which know no names: any `Host` will do."""
_FRESH = {"Cache-Control": "no-store"}


def alive(service: str, clock: Clock) -> JsonResponse:
    """``/health`` of a service: it answers, so it is alive. 200."""
    return JsonResponse(
        {"status": "healthy", "timestamp": rfc3339(clock.now()), "service": service}, headers=_FRESH
    )


def readiness(service: str, reason: str | None, clock: Clock) -> JsonResponse:
    """``/health/ready`` of a service: 200, or 503 with the `reason` for which it should get no traffic."""
    body = {
        "status": "unhealthy" if reason else "healthy",
        "timestamp": rfc3339(clock.now()),
        "service": service,
    }
    if reason:
        body["reason"] = reason
    return JsonResponse(body, 503 if reason else 200, headers=_FRESH)


def verdict(services: Mapping[str, str]) -> Verdict:
    """Of the verdicts on each service: degraded when some service is not healthy, unhealthy when none is."""
    healthy = sum(state == "healthy" for state in services.values())
    if healthy == len(services):
        return "healthy"
    return "degraded" if healthy else "unhealthy"


def stack_health(services: Mapping[str, str], clock: Clock) -> JsonResponse:
    """``/health`` of the gateway: 200, or 503 when no service is healthy."""
    status = verdict(services)
    body = {"status": status, "timestamp": rfc3339(clock.now()), "services": dict(services)}
    return JsonResponse(body, 503 if status == "unhealthy" else 200, headers=_FRESH)
