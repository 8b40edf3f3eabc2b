"""Round robin, least requests, the power of two choices."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.balance import LeastRequests, RoundRobin, TwoChoices
from micro.gateway.upstream.chance import Chance
from micro.gateway.upstream.instance import Instance
from micro.spec.upstream import BreakerSpec
from micro.testing import FakeClock

KINDS = [RoundRobin, LeastRequests, TwoChoices]


def using(kind, count, seed=0):
    balance = kind(Chance(FakeClock(seed=seed)))
    instances = tuple(Instance(f"http://10.0.0.{number}:80", BreakerSpec()) for number in range(count))
    balance.use(instances)
    return balance, instances


@pytest.mark.parametrize("kind", KINDS)
def test_all_get_about_the_same_where_all_are_idle(kind, exchange):
    balance, instances = using(kind, 5)
    picked = Counter(balance.pick(exchange) for _ in range(5000))
    assert set(picked) == set(instances)
    assert all(850 < number < 1150 for number in picked.values())


@pytest.mark.parametrize("kind", [RoundRobin, LeastRequests])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_one_after_the_other_gets_exactly_the_same(kind, count, exchange):
    balance, instances = using(kind, count)
    picked = [balance.pick(exchange) for _ in range(3 * count)]
    assert picked[:count] == picked[count : 2 * count] == picked[2 * count :]
    assert set(picked) == set(instances)


def test_gateways_that_start_together_dont_begin_with_the_same_instance(exchange):
    first = {using(RoundRobin, 4, seed)[0].pick(exchange).name for seed in range(20)}
    assert len(first) == 4


def test_a_choice_among_some_takes_nobodys_turn(exchange):
    balance, instances = using(RoundRobin, 3)
    picked = []
    for _ in range(300):
        picked.append(balance.pick(exchange))
        assert balance.among(exchange, instances[:1]) is instances[0]
    assert set(Counter(picked).values()) == {100}


@given(loads=st.lists(st.integers(0, 5), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_least_requests_picks_one_of_those_with_the_fewest(loads, seed):
    balance, instances = using(LeastRequests, len(loads), seed)
    for instance, load in zip(instances, loads, strict=True):
        instance.active = load
    least = {instance for instance in instances if instance.active == min(loads)}
    assert {balance.pick(None) for _ in loads} == least


@given(loads=st.lists(st.integers(0, 5), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_two_choices_never_pick_the_only_busiest_one(loads, seed):
    balance, instances = using(TwoChoices, len(loads), seed)
    for instance, load in zip(instances, loads, strict=True):
        instance.active = load
    instances[0].active = 6
    assert all(balance.pick(None) is not instances[0] for _ in range(50))


def test_two_choices_spread_a_standing_load_evenly(exchange):
    balance, instances = using(TwoChoices, 10)
    for _ in range(1000):
        balance.pick(exchange).active += 1
    assert (
        max(instance.active for instance in instances) - min(instance.active for instance in instances) <= 6
    )


def test_two_choices_of_one_are_that_one(exchange):
    balance, (instance,) = using(TwoChoices, 1)
    assert balance.pick(exchange) is instance


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_among_some_favours_none_of_them(kind, exchange):
    balance, instances = using(kind, 4)
    picked = Counter(balance.among(exchange, instances[1:]) for _ in range(3000))
    assert set(picked) == set(instances[1:])
    assert all(850 < number < 1150 for number in picked.values())


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_choice_among_some_is_one_of_them(kind, data):
    balance, instances = using(kind, 6)
    some = data.draw(st.lists(st.sampled_from(instances), min_size=1, unique=True))
    assert balance.among(None, some) in some


def test_chance_is_drawn_in_batches_and_spread_evenly():
    clock = FakeClock()
    draws = []
    original = clock.randbits
    clock.randbits = lambda bits: draws.append(bits) or original(bits)
    chance = Chance(clock)
    numbers = [chance.fraction() for _ in range(1280)]
    assert len(draws) == 10
    assert all(0.0 <= number < 1.0 for number in numbers)
    assert 0.45 < sum(numbers) / len(numbers) < 0.55
    assert len(set(numbers)) > 1270
