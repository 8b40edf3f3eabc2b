"""A route whose requests fail is left alone for a while."""

from __future__ import annotations

import gc
import itertools
import logging

import pytest

from micro.gateway.exchange import Exchange
from micro.gateway.policies.breaker import RouteBreaker, outcome
from micro.spec.upstream import BreakerSpec
from micro.telemetry.metrics import Metrics
from micro.testing import FakeClock

SPEC = BreakerSpec(failure_rate=50, requests=4, window=10.0, open=5.0)
NUMBERS = itertools.count()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def breaker(clock, metrics):
    return RouteBreaker(SPEC, clock, name="GET /orders", metrics=metrics)


def request():
    exchange = Exchange("GET", b"/orders", [(b"host", b"shop.test")])
    exchange.request_id = "an-id"
    exchange.ids = b"x-request-id: %d\r\n" % next(NUMBERS)  # a new object for each, as in the gateway
    return exchange


def end(breaker, exchange, status=200, error=""):
    exchange.status, exchange.error = status, error
    exchange.ended = breaker._monotonic()  # as the recorder does
    breaker.on_end(exchange)


def go(breaker, status=200, error=""):
    """Whether one request got through; it ends like this."""
    exchange = request()
    answer = breaker.on_request(exchange)
    if answer is not None:
        end(breaker, exchange, answer.status, exchange.error)
        return False
    end(breaker, exchange, status, error)
    return True


def test_while_requests_succeed_all_get_through(breaker):
    assert all(go(breaker) for _ in range(100))


def test_it_opens_when_most_fail_and_refuses_with_the_time_to_come_again(breaker, clock, metrics, caplog):
    with caplog.at_level(logging.WARNING):
        assert all(go(breaker, 503) for _ in range(4))
    refused = request()
    answer = breaker.on_request(refused)
    assert answer.status == 503
    assert (b"retry-after", b"5") in answer.headers
    assert (b"proxy-status", b"micro; error=destination_unavailable") in answer.headers
    assert refused.error == "destination_unavailable"
    assert 'micro_route_breaker_state{route="GET /orders"} 1' in metrics.render()
    assert 'micro_route_breaker_openings_total{route="GET /orders"} 1' in metrics.render()
    assert "GET /orders: the breaker opened" in caplog.text


async def test_the_time_to_come_again_is_what_is_left_and_never_0(breaker, clock):
    for _ in range(4):
        go(breaker, 502)
    await clock.advance(3.5)
    assert (b"retry-after", b"2") in breaker.on_request(request()).headers
    await clock.advance(1.4999)
    assert (b"retry-after", b"1") in breaker.on_request(request()).headers


async def test_after_its_time_one_request_decides(breaker, clock, caplog):
    for _ in range(4):
        go(breaker, 504)
    await clock.advance(5)
    trial = request()
    assert breaker.on_request(trial) is None
    assert not go(breaker)
    with caplog.at_level(logging.INFO):
        end(breaker, trial)
    assert all(go(breaker) for _ in range(10))
    assert "GET /orders: the breaker closed" in caplog.text


async def test_a_trial_that_fails_opens_it_again(breaker, clock):
    for _ in range(4):
        go(breaker, 502)
    await clock.advance(5)
    assert go(breaker, 502, "connection_refused")
    assert not go(breaker)
    await clock.advance(4.9)
    assert not go(breaker)


async def test_after_a_trial_that_says_nothing_the_next_request_is_the_trial(breaker, clock):
    for _ in range(4):
        go(breaker, 502)
    await clock.advance(5)
    assert go(breaker, 499)
    assert go(breaker, 200)
    assert go(breaker, 200)


async def test_requests_from_before_it_opened_decide_nothing(breaker, clock):
    old = [request() for _ in range(3)]
    for exchange in old:
        breaker.on_request(exchange)
    for _ in range(4):
        go(breaker, 502)
    await clock.advance(5)
    trial = request()
    assert breaker.on_request(trial) is None
    for exchange, status in zip(old, (200, 502, 499), strict=True):
        end(breaker, exchange, status)
    assert not go(breaker)
    end(breaker, trial)
    assert go(breaker)


async def test_a_trial_that_lasts_makes_way_for_another_and_decides_nothing_then(breaker, clock):
    for _ in range(4):
        go(breaker, 502)
    await clock.advance(5)
    stream = request()
    breaker.on_request(stream)
    await clock.advance(5)
    second = request()
    assert breaker.on_request(second) is None
    end(breaker, stream, 502)
    assert not go(breaker)
    end(breaker, second)
    assert go(breaker)


def test_what_an_earlier_policy_refused_does_not_count(breaker):
    for _ in range(50):
        end(breaker, request(), 503, "connection_limit_reached")
    for _ in range(3):
        go(breaker, 502)
    assert go(breaker)


def test_an_end_that_is_told_twice_counts_once(breaker):
    exchange = request()
    breaker.on_request(exchange)
    for _ in range(20):
        end(breaker, exchange, 502)
    assert go(breaker)


@pytest.mark.parametrize(
    ("status", "error", "failed"),
    [
        (200, "", False),
        (404, "", False),
        (500, "", False),
        (502, "", True),
        (503, "", True),
        (504, "", True),
        (502, "connection_terminated", True),
        (504, "http_response_timeout", True),
        (200, "http_response_incomplete", True),
        (413, "http_request_error", None),
        (408, "http_request_error", None),
        (403, "http_request_denied", None),
        (500, "proxy_internal_error", None),
        (503, "destination_unavailable", None),
        (503, "connection_limit_reached", None),
        (499, "", None),
        (0, "", None),
    ],
)
def test_what_counts_as_a_failure_of_the_service(status, error, failed):
    exchange = request()
    exchange.status, exchange.error = status, error
    assert outcome(exchange) is failed


def test_a_breaker_that_a_reload_replaced_is_not_kept_and_not_told_of(clock, metrics):
    breaker = RouteBreaker(SPEC, clock, name="GET /old", metrics=metrics)
    for _ in range(4):
        go(breaker, 502)
    assert 'micro_route_breaker_state{route="GET /old"} 1' in metrics.render()
    del breaker
    gc.collect()
    assert 'micro_route_breaker_state{route="GET /old"} 0' in metrics.render()


def test_it_says_what_it_does(breaker):
    assert str(breaker) == "breaker: opens for 5 s when 50 % of the requests in 10 s fail, of 4 at least"
