"""The circuit breaker's states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from micro.gateway.upstream.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from micro.spec.upstream import BreakerSpec

SPEC = BreakerSpec(failure_rate=50, requests=4, window=10.0, open=5.0)


def opened(spec=SPEC, now=0.0):
    breaker = Breaker(spec)
    for _ in range(spec.requests):
        breaker.ended(now, now, failed=True)
    assert breaker.state == OPEN
    return breaker


def test_it_is_closed_at_first_and_lets_everything_through():
    breaker = Breaker(SPEC)
    assert breaker.state == CLOSED
    assert breaker.admits(0.0)
    assert breaker.wait(0.0) == 0.0


def test_it_opens_when_so_many_percent_have_failed():
    breaker = Breaker(SPEC)
    outcomes = [True, False, False, True]
    changed = [breaker.ended(1.0, 0.5, failed=failed) for failed in outcomes]
    assert changed == [False, False, False, True]
    assert breaker.state == OPEN
    assert not breaker.admits(1.0)
    assert breaker.wait(2.0) == 4.0


def test_fewer_failures_than_the_rate_leave_it_closed():
    breaker = Breaker(SPEC)
    for number in range(300):
        assert not breaker.ended(number / 100, 0.0, failed=number % 100 >= 51 and number % 2 == 0)
    assert breaker.state == CLOSED


def test_few_requests_say_nothing():
    breaker = Breaker(SPEC)
    assert not any(breaker.ended(0.0, 0.0, failed=True) for _ in range(3))
    assert breaker.state == CLOSED


def test_failures_that_are_long_ago_dont_count():
    breaker = Breaker(SPEC)
    for _ in range(3):
        breaker.ended(0.0, 0.0, failed=True)
    breaker.ended(10.5, 10.0, failed=True)
    assert breaker.state == CLOSED


def test_requests_whose_end_says_nothing_dont_count():
    breaker = Breaker(SPEC)
    assert not any(breaker.ended(0.0, 0.0, failed=None) for _ in range(50))
    for _ in range(3):
        breaker.ended(0.0, 0.0, failed=True)
    assert breaker.state == CLOSED


def test_a_rate_of_0_switches_it_off():
    breaker = Breaker(BreakerSpec(failure_rate=0, requests=1))
    assert not any(breaker.ended(0.0, 0.0, failed=True) for _ in range(100))
    assert breaker.state == CLOSED


def test_when_its_time_is_over_one_request_goes_and_no_other():
    breaker = opened()
    assert not breaker.admits(4.99)
    assert breaker.admits(5.0)
    breaker.tried(5.0)
    assert breaker.state == HALF_OPEN
    assert not breaker.admits(5.0)
    assert breaker.wait(5.0) == 5.0


def test_a_trial_that_succeeds_closes_it_and_forgets_what_was():
    breaker = opened()
    breaker.tried(5.0)
    assert breaker.ended(5.2, 5.0, failed=False)
    assert breaker.state == CLOSED
    for _ in range(3):
        breaker.ended(5.3, 5.2, failed=True)
    assert breaker.state == CLOSED


def test_a_trial_that_fails_opens_it_for_the_whole_time_again():
    breaker = opened()
    breaker.tried(6.0)
    assert breaker.ended(7.0, 6.0, failed=True)
    assert breaker.state == OPEN
    assert not breaker.admits(11.9)
    assert breaker.admits(12.0)


def test_after_a_trial_that_says_nothing_another_one_may_go_at_once():
    breaker = opened()
    breaker.tried(5.0)
    assert breaker.ended(5.1, 5.0, failed=None)
    assert breaker.state == HALF_OPEN
    assert breaker.admits(5.1)


@pytest.mark.parametrize("failed", [True, False, None])
def test_requests_from_before_it_opened_decide_nothing(failed):
    breaker = opened(now=100.0)
    assert not breaker.ended(101.0, 99.0, failed=failed)
    assert breaker.state == OPEN
    breaker.tried(105.0)
    assert not breaker.ended(105.5, 99.9, failed=failed)
    assert breaker.state == HALF_OPEN


def test_a_trial_is_recognised_though_clocks_were_read_a_moment_apart():
    breaker = opened(now=100.0)
    breaker.tried(105.0)
    assert breaker.ended(106.0, 104.9, failed=False)
    assert breaker.state == CLOSED


def test_a_trial_that_does_not_end_makes_way_for_another_after_a_while():
    breaker = opened()
    breaker.tried(5.0)
    assert not breaker.admits(9.9)
    assert breaker.admits(10.0)
    breaker.tried(10.0)
    assert not breaker.admits(10.0)
    assert breaker.ended(11.0, 5.0, failed=False)  # the first one, after all
    assert breaker.state == CLOSED


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 100), st.integers(1, 30))
def test_it_opens_exactly_when_rate_and_number_say_so(outcomes, rate, least):
    breaker = Breaker(BreakerSpec(failure_rate=rate, requests=least))
    for number, failed in enumerate(outcomes, 1):
        breaker.ended(0.0, 0.0, failed=failed)
        if failed and number >= least and sum(outcomes[:number]) * 100 >= rate * number:
            assert breaker.state == OPEN
            return
        assert breaker.state == CLOSED


class AgainstAModel(RuleBasedStateMachine):
    """The breaker, and the same in the simplest terms: a list of outcomes, and one name for the state."""

    @initialize(rate=st.integers(1, 100), least=st.integers(1, 5))
    def begin(self, rate, least):
        self.spec = BreakerSpec(failure_rate=rate, requests=least, window=1e9, open=5.0)
        self.breaker = Breaker(self.spec)
        self.now = 0.0
        self.state, self.outcomes, self.until = "closed", [], 0.0
        self.running = []  # the moments at which the requests in hand began, and whether one is the trial

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.9, 5.0, 20.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def a_request_comes(self):
        may = self.state == "closed" or self.now >= self.until
        assert self.breaker.admits(self.now) == may
        if not may:
            return
        if self.state != "closed":
            self.breaker.tried(self.now)
            self.state, self.until = "half-open", self.now + 5.0
        self.running.append((self.now, self.state == "half-open"))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failed=st.sampled_from([True, False, None]))
    def a_request_ends(self, data, failed):
        began, trial = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        before = self.breaker.state
        changed = self.breaker.ended(self.now, began, failed=failed)
        if self.state == "closed" and failed is not None:
            self._count(failed)
        elif self.state == "half-open" and trial:
            self._decide(failed)
        assert changed or before == self.breaker.state

    def _count(self, failed):
        self.outcomes.append(failed)
        enough = len(self.outcomes) >= self.spec.requests
        if failed and enough and sum(self.outcomes) * 100 >= self.spec.failure_rate * len(self.outcomes):
            self._open()

    def _decide(self, failed):
        if failed:
            self._open()
        elif failed is None:
            self.until = self.now
        else:
            self.state, self.outcomes = "closed", []
            self.running = [(began, False) for began, _ in self.running]

    def _open(self):
        self.state, self.until = "open", self.now + 5.0
        self.running = [(began, False) for began, _ in self.running]

    @invariant()
    def both_agree(self):
        if hasattr(self, "breaker"):
            assert ("closed", "open", "half-open")[self.breaker.state] == self.state


TestAgainstAModel = AgainstAModel.TestCase
