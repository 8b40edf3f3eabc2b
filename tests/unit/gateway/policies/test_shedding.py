"""No more requests in hand than the gateway can carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.exchange import Exchange
from micro.gateway.policies.shedding import InHand, Shedding
from micro.telemetry.metrics import Metrics


def request():
    exchange = Exchange("GET", b"/orders", [(b"host", b"shop.test")])
    exchange.request_id = "an-id"
    return exchange


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def in_hand(metrics):
    return InHand(metrics)


def test_one_more_than_the_limit_gets_503_and_is_told_when_to_come_again(in_hand, metrics):
    shedding = Shedding(2, in_hand)
    assert [shedding.on_request(request()) for _ in range(2)] == [None, None]
    refused = request()
    answer = shedding.on_request(refused)
    assert answer.status == 503
    assert refused.error == "connection_limit_reached"
    assert any(name == b"retry-after" and int(value) >= 1 for name, value in answer.headers)
    assert (b"proxy-status", b"micro; error=connection_limit_reached") in answer.headers
    assert in_hand.count == 2
    assert "micro_gateway_shed_total 1" in metrics.render()


def test_the_end_of_a_refused_request_makes_no_room(in_hand):
    shedding = Shedding(1, in_hand)
    held, refused = request(), request()
    shedding.on_request(held)
    shedding.on_request(refused)
    shedding.on_end(refused)
    assert shedding.on_request(request()) is not None
    shedding.on_end(held)
    assert shedding.on_request(request()) is None


def test_an_end_that_is_told_twice_counts_once(in_hand):
    shedding = Shedding(5, in_hand)
    one, other = request(), request()
    shedding.on_request(one)
    shedding.on_request(other)
    shedding.on_end(one)
    shedding.on_end(one)
    assert in_hand.count == 1


def test_a_request_that_never_came_here_ends_without_a_trace(in_hand):
    Shedding(1, in_hand).on_end(request())
    assert in_hand.count == 0


def test_requests_of_an_older_plan_count_in_the_next(in_hand):
    before, after = Shedding(2, in_hand), Shedding(1, in_hand)
    old = request()
    before.on_request(old)
    assert after.on_request(request()) is not None
    before.on_end(old)
    assert after.on_request(request()) is None


def test_it_says_what_it_does(in_hand):
    assert str(Shedding(7, in_hand)) == "shedding: 7 requests in hand at most"


@given(limit=st.integers(0, 4), steps=st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=60))
def test_those_in_hand_are_counted_exactly(limit, steps):
    in_hand = InHand(Metrics())
    shedding, open_, held = Shedding(limit, in_hand), [], 0
    for comes, number in steps:
        if comes:
            exchange = request()
            admitted = shedding.on_request(exchange) is None
            assert admitted == (held < limit)
            open_.append((exchange, admitted))
            held += admitted
        elif open_:
            exchange, admitted = open_.pop(number % len(open_))
            shedding.on_end(exchange)
            held -= admitted
        assert in_hand.count == held
