"""Whether a request is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.retry import LEAST, SPAN, Budget, is_repeatable, jittered
from micro.spec.upstream import RetrySpec
from micro.testing import FakeClock


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
def test_idempotent_methods_may_be_sent_again_with_the_body_at_hand(method):
    assert is_repeatable(method, sent=True, at_hand=True)
    assert not is_repeatable(method, sent=True, at_hand=False)


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "CONNECT", "get", ""])
def test_other_methods_only_where_nothing_was_sent(method):
    assert is_repeatable(method, sent=False, at_hand=True)
    assert not is_repeatable(method, sent=True, at_hand=True)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_sent_again_whose_body_is_gone(method):
    assert not is_repeatable(method, sent=False, at_hand=False)


def test_three_retries_are_always_allowed():
    budget = Budget(0)
    assert [budget.draw(0.0) for _ in range(5)] == [True, True, True, False, False]


def test_a_fifth_of_a_thousand_requests_may_be_sent_again():
    budget = Budget(20)
    for _ in range(1000):
        budget.count(1.0)
    assert drawn(budget, 1.0) == 200


def drawn(budget, now):
    """How many retries there are; each of them ends, too, and pays for no other."""
    granted = 0
    while budget.draw(now):
        granted += 1
        budget.count(now)
    return granted


def test_requests_and_retries_of_long_ago_are_forgotten():
    budget = Budget(20)
    for _ in range(100):
        budget.count(0.0)
    assert drawn(budget, 0.0) == 20
    assert sum(budget.draw(SPAN * 1.1) for _ in range(50)) == LEAST


@given(
    percent=st.integers(0, 100),
    steps=st.lists(st.tuples(st.sampled_from(["count", "draw"]), st.floats(0, 3)), max_size=200),
)
def test_the_budget_is_never_exceeded(percent, steps):
    budget, now, counted, granted = Budget(percent), 0.0, [], []
    for kind, gap in steps:
        now += gap
        if kind == "count":
            budget.count(now)
            counted.append(now)
        elif budget.draw(now):
            granted.append(now)
            window = now - SPAN - 1e-6
            recent = sum(moment > window for moment in counted)
            certain = sum(moment > now - SPAN * 0.9 + 1e-6 for moment in granted)
            assert certain <= max(LEAST, recent * percent / 100)


@given(tries=st.integers(1, 5000), seed=st.integers(0, 1000))
def test_a_wait_is_drawn_between_nothing_and_a_cap_that_doubles(tries, seed):
    spec = RetrySpec(base=0.025, cap=0.25)
    wait = jittered(spec, tries, FakeClock(seed=seed))
    assert 0.0 <= wait <= min(0.25, 0.025 * 2 ** min(tries - 1, 10))


def test_waits_are_spread_over_the_whole_range():
    clock, spec = FakeClock(), RetrySpec(base=0.1, cap=10.0)
    waits = sorted(jittered(spec, 3, clock) for _ in range(2000))
    assert waits[0] < 0.01
    assert waits[-1] > 0.39
    assert 0.18 < waits[1000] < 0.22
