"""Health answers."""

from __future__ import annotations

import msgspec
import pytest

from micro.web.health import alive, readiness, stack_health, verdict


def body(response):
    return msgspec.json.decode(response.body)


def test_a_service_that_answers_is_alive(clock):
    """200, with the time, so that a stale answer shows."""
    response = alive("shop", clock)
    assert response.status_code == 200
    assert body(response) == {
        "status": "healthy",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "service": "shop",
    }


def test_a_service_that_is_ready(clock):
    """200."""
    response = readiness("shop", None, clock)
    assert (response.status_code, body(response)["status"]) == (200, "healthy")
    assert "reason" not in body(response)


def test_a_service_that_is_not_ready_says_why(clock):
    """503, so that nothing sends it traffic."""
    response = readiness("shop", "migrations are pending", clock)
    assert response.status_code == 503
    assert body(response)["status"] == "unhealthy"
    assert body(response)["reason"] == "migrations are pending"


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ({}, "healthy"),
        ({"a": "healthy"}, "healthy"),
        ({"a": "healthy", "b": "healthy"}, "healthy"),
        ({"a": "healthy", "b": "unhealthy"}, "degraded"),
        ({"a": "healthy", "b": "starting"}, "degraded"),
        ({"a": "unhealthy"}, "unhealthy"),
        ({"a": "unhealthy", "b": "starting"}, "unhealthy"),
    ],
)
def test_the_verdict_on_a_stack(services, expected):
    """Degraded: some service is not healthy; unhealthy: none is."""
    assert verdict(services) == expected


@pytest.mark.parametrize(
    ("services", "status"),
    [({"a": "healthy"}, 200), ({"a": "healthy", "b": "unhealthy"}, 200), ({"a": "unhealthy"}, 503)],
)
def test_a_stack_is_503_only_when_unhealthy(services, status, clock):
    """A degraded stack still answers."""
    response = stack_health(services, clock)
    assert response.status_code == status
    assert body(response)["services"] == services
    assert body(response)["timestamp"] == "2026-01-01T00:00:00.000Z"


def test_health_is_never_cached(clock):
    """By nobody on the way."""
    for response in (alive("a", clock), readiness("a", None, clock), stack_health({}, clock)):
        assert response.headers["cache-control"] == "no-store"
