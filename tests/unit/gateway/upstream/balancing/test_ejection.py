"""Instances that real requests fail on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.ejection import Ejection
from micro.gateway.upstream.instance import Instance
from micro.spec.upstream import BreakerSpec, EjectionSpec


def instances_of(count):
    return [Instance(f"http://10.0.0.{number}:80", BreakerSpec()) for number in range(count)]


def fail(ejection, instance, among, *, now=0.0, times=5):
    return [ejection.failed(instance, among, now) for _ in range(times)]


def test_it_is_set_aside_after_so_many_failures_in_a_row():
    ejection, (one, two) = Ejection(EjectionSpec()), instances_of(2)
    assert fail(ejection, one, [one, two]) == [False, False, False, False, True]
    assert one.ejected
    assert not two.ejected
    assert one.ejected_until == 10.0


def test_a_success_in_between_begins_the_count_anew():
    ejection, among = Ejection(EjectionSpec()), instances_of(2)
    fail(ejection, among[0], among, times=4)
    among[0].failures = 0
    assert fail(ejection, among[0], among, times=4) == [False] * 4


def test_no_number_of_failures_switches_it_off():
    ejection, among = Ejection(EjectionSpec(failures=0)), instances_of(2)
    assert not any(fail(ejection, among[0], among, times=100))


def test_it_comes_back_when_its_time_is_over_and_its_failures_are_forgotten():
    ejection, among = Ejection(EjectionSpec()), instances_of(2)
    fail(ejection, among[0], among)
    assert not ejection.over(among[0], 9.9)
    assert ejection.over(among[0], 10.0)
    assert not among[0].ejected
    assert among[0].failures == 0
    assert not ejection.over(among[0], 10.0)


def test_each_time_in_a_row_takes_twice_as_long_up_to_a_limit():
    ejection, among = Ejection(EjectionSpec(longest=35.0)), instances_of(2)
    now, spans = 0.0, []
    for _ in range(5):
        fail(ejection, among[0], among, now=now)
        spans.append(among[0].ejected_until - now)
        now = among[0].ejected_until
        assert ejection.over(among[0], now)
    assert spans == [10.0, 20.0, 35.0, 35.0, 35.0]


def test_after_hundreds_of_times_the_span_is_still_the_longest():
    ejection, among = Ejection(EjectionSpec()), instances_of(2)
    among[0].ejections, among[0].ejected_until = 5000, 0.0
    fail(ejection, among[0], among)
    assert among[0].ejected_until == 300.0


def test_who_stayed_as_long_as_it_was_set_aside_for_begins_anew():
    ejection, among = Ejection(EjectionSpec()), instances_of(2)
    fail(ejection, among[0], among)
    ejection.over(among[0], 10.0)
    fail(ejection, among[0], among, now=19.0)
    assert among[0].ejected_until == 39.0
    ejection.over(among[0], 39.0)
    fail(ejection, among[0], among, now=60.0)
    assert among[0].ejected_until == 70.0


def test_who_is_set_aside_is_not_set_aside_again_by_requests_still_in_flight():
    ejection, among = Ejection(EjectionSpec()), instances_of(2)
    fail(ejection, among[0], among)
    assert not any(fail(ejection, among[0], among, now=5.0, times=50))
    assert among[0].ejected_until == 10.0


def test_who_has_left_is_not_set_aside():
    ejection, among = Ejection(EjectionSpec()), instances_of(2)
    among[0].gone = True
    assert not any(fail(ejection, among[0], among[1:]))


@pytest.mark.parametrize(
    ("count", "at_most", "allowed"), [(1, 50, 1), (2, 50, 1), (5, 50, 2), (10, 0, 1), (4, 100, 4)]
)
def test_at_most_so_many_percent_are_set_aside_but_one_always_may(count, at_most, allowed):
    ejection, among = Ejection(EjectionSpec(at_most=at_most)), instances_of(count)
    for instance in among:
        fail(ejection, instance, among)
    assert sum(instance.ejected for instance in among) == allowed


@given(
    count=st.integers(1, 8),
    at_most=st.integers(0, 100),
    steps=st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.floats(0, 5)), max_size=150),
)
def test_the_cap_is_never_exceeded(count, at_most, steps):
    ejection = Ejection(EjectionSpec(failures=2, at_most=at_most))
    among, now = instances_of(count), 0.0
    for number, failed, gap in steps:
        now += gap
        instance = among[number % count]
        for one in among:
            ejection.over(one, now)
        if failed:
            ejection.failed(instance, among, now)
        else:
            instance.failures = 0
        assert sum(one.ejected for one in among) <= max(1, count * at_most / 100)
        assert all(now < one.ejected_until <= now + 300.0 for one in among if one.ejected)
