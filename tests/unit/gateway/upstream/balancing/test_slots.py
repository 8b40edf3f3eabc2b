"""Slots, and the queue before them."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from micro.gateway.deadlines import TICK, Wheel
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.slots import Slots
from micro.testing import FakeClock


class Waiter:
    def __init__(self, name, log, then=None):
        self.name, self.log, self.then = name, log, then

    def admitted(self):
        self.log.append(("admitted", self.name))
        if self.then is not None:
            self.then()

    def refused(self):
        self.log.append(("refused", self.name))
        if self.then is not None:
            self.then()


@pytest.fixture
def log():
    return []


@pytest.fixture
def full(wheel, log):
    """One slot, which is taken."""
    slots = Slots(1, queue=3, timeout=1.0, wheel=wheel)
    assert slots.enter(Waiter("first", log))
    return slots


async def test_whoever_comes_gets_a_slot_while_there_is_one(wheel, log):
    slots = Slots(2, queue=3, timeout=1.0, wheel=wheel)
    assert [slots.enter(Waiter(name, log)) for name in "abc"] == [True, True, False]
    assert (slots.active, len(slots)) == (2, 1)
    assert log == []


async def test_a_slot_that_is_given_back_goes_to_who_has_waited_longest(full, log):
    assert [full.enter(Waiter(name, log)) for name in "abc"] == [False] * 3
    full.leave()
    assert log == [("admitted", "a")]
    full.leave()
    full.leave()
    assert log == [("admitted", "a"), ("admitted", "b"), ("admitted", "c")]
    full.leave()
    assert (full.active, len(full)) == (0, 0)


async def test_who_comes_later_gets_not_in_between(wheel, log):
    slots = Slots(1, queue=3, timeout=1.0, wheel=wheel)
    slots.enter(Waiter("first", log))
    late = Waiter("late", log)
    slots.enter(Waiter("a", log, then=lambda: log.append(slots.enter(late))))
    slots.leave()
    assert log == [("admitted", "a"), False]
    slots.leave()
    assert log[-1] == ("admitted", "late")


async def test_who_comes_while_several_are_admitted_is_behind_all_of_them(wheel, log):
    slots = Slots(1, queue=3, timeout=1.0, wheel=wheel)
    slots.enter(Waiter("first", log))
    late = Waiter("late", log)
    slots.enter(Waiter("a", log, then=lambda: log.append(slots.enter(late))))
    slots.enter(Waiter("b", log))
    slots.resize(3)
    assert log == [("admitted", "a"), False, ("admitted", "b")]
    slots.leave()
    assert log[-1] == ("admitted", "late")


async def test_one_more_than_the_queue_takes_is_turned_away(full, log):
    for name in "abc":
        full.enter(Waiter(name, log))
    with pytest.raises(UpstreamError) as caught:
        full.enter(Waiter("d", log))
    assert caught.value.kind == "connection_limit_reached"
    assert full.turned_away == 1
    assert len(full) == 3


@pytest.mark.parametrize(("queue", "timeout"), [(0, 1.0), (3, 0.0)])
async def test_without_a_queue_or_without_time_nobody_waits(wheel, log, queue, timeout):
    slots = Slots(1, queue=queue, timeout=timeout, wheel=wheel)
    slots.enter(Waiter("a", log))
    with pytest.raises(UpstreamError):
        slots.enter(Waiter("b", log))


async def test_who_waits_too_long_is_refused_once(full, log, clock):
    full.enter(Waiter("a", log))
    await clock.advance(0.5)
    full.enter(Waiter("b", log))
    await clock.advance(0.5)
    assert log == []
    await clock.advance(2 * TICK)
    assert log == [("refused", "a")]
    await clock.advance(0.5)
    assert log == [("refused", "a"), ("refused", "b")]
    assert full.expired == 2
    full.leave()
    assert full.active == 0
    await clock.advance(10)
    assert len(log) == 2


async def test_nobody_is_refused_before_the_time_is_over(wheel, log, clock):
    slots = Slots(0, queue=100, timeout=0.7, wheel=wheel)
    for number in range(40):
        slots.enter(Waiter((number, clock.monotonic()), log))
        await clock.advance(0.03)
    await clock.advance(5)
    assert [name for _, (name, _) in log] == list(range(40))


async def test_who_withdraws_is_told_nothing(full, log, clock):
    waiter = Waiter("a", log)
    full.enter(waiter)
    full.enter(Waiter("b", log))
    assert full.withdraw(waiter)
    assert not full.withdraw(waiter)
    full.leave()
    await clock.advance(5)
    assert log == [("admitted", "b")]


async def test_who_was_told_can_not_withdraw(full, log):
    waiter = Waiter("a", log)
    full.enter(waiter)
    full.leave()
    assert not full.withdraw(waiter)


async def test_nothing_is_timed_while_nobody_waits(full, log, clock):
    assert clock.sleeping == 0
    waiter = Waiter("a", log)
    full.enter(waiter)
    await clock.advance(0)
    assert clock.sleeping == 1
    full.withdraw(waiter)
    await clock.advance(2)
    assert clock.sleeping == 0


async def test_more_slots_admit_those_who_wait_and_fewer_take_none_away(full, log):
    for name in "abc":
        full.enter(Waiter(name, log))
    full.resize(3)
    assert [name for _, name in log] == ["a", "b"]
    full.resize(1)
    assert full.active == 3
    full.leave()
    full.leave()
    assert len(log) == 2
    full.leave()
    assert log[-1] == ("admitted", "c")


async def test_a_thousand_waiters_that_fail_at_once_do_not_pile_up(wheel, log):
    slots = Slots(1, queue=5000, timeout=1.0, wheel=wheel)
    slots.enter(Waiter("first", log))
    for number in range(5000):
        slots.enter(Waiter(number, log, then=slots.leave))
    slots.leave()
    assert [name for _, name in log] == list(range(5000))
    assert (slots.active, len(slots)) == (0, 0)


@pytest.mark.parametrize("end", ["admitted", "refused"])
async def test_a_waiter_that_raises_keeps_nobody_from_being_told(wheel, log, clock, caplog, end):
    def fail():
        raise RuntimeError("no")

    slots = Slots(1, queue=5, timeout=1.0, wheel=wheel)
    slots.enter(Waiter("first", log))
    slots.enter(Waiter("a", log, then=fail))
    slots.enter(Waiter("b", log))
    with caplog.at_level(logging.ERROR):
        if end == "admitted":
            slots.resize(5)
        else:
            await clock.advance(1.5)
    assert log == [(end, "a"), (end, "b")]
    assert "could not be told" in caplog.text


async def test_when_it_closes_all_who_wait_are_refused(full, log, clock):
    for name in "ab":
        full.enter(Waiter(name, log))
    full.close()
    await clock.advance(5)
    full.leave()
    assert log == [("refused", "a"), ("refused", "b")]


class Unturned(Wheel):
    """Turned by the rules below."""

    def add(self, timed, moment):
        return set()


class Machine(RuleBasedStateMachine):
    """Slots against a plain model: a number and a list."""

    @initialize(limit=st.integers(0, 3), queue=st.integers(0, 4))
    def begin(self, limit, queue):
        self.clock = FakeClock()
        self.slots = Slots(limit, queue=queue, timeout=1.0, wheel=Unturned(self.clock))
        self.limit, self.queue = limit, queue
        self.told, self.expected = [], []
        self.active, self.waiting, self.number = 0, [], 0

    @rule()
    def somebody_comes(self):
        self.number += 1
        waiter = Waiter(self.number, self.told)
        if self.active < self.limit and not self.waiting:
            assert self.slots.enter(waiter)
            self.active += 1
        elif len(self.waiting) >= self.queue:
            with pytest.raises(UpstreamError):
                self.slots.enter(waiter)
        else:
            assert not self.slots.enter(waiter)
            self.waiting.append((waiter, self.clock.monotonic() + 1.0))

    @precondition(lambda self: self.active)
    @rule()
    def somebody_leaves(self):
        self.slots.leave()
        self.active -= 1
        self._admit()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def somebody_gives_up(self, data):
        waiter, _ = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        assert self.slots.withdraw(waiter)

    @rule(limit=st.integers(0, 4))
    def the_limit_changes(self, limit):
        self.slots.resize(limit)
        self.limit = limit
        self._admit()

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0]))
    def time_passes(self, seconds):
        self.clock._elapsed += round(seconds * 1e9)
        self.slots.due()
        while self.waiting and self.waiting[0][1] <= self.clock.monotonic():
            self.expected.append(("refused", self.waiting.pop(0)[0].name))

    def _admit(self):
        while self.waiting and self.active < self.limit:
            self.active += 1
            self.expected.append(("admitted", self.waiting.pop(0)[0].name))

    @invariant()
    def both_agree(self):
        if hasattr(self, "slots"):
            assert (self.slots.active, len(self.slots)) == (self.active, len(self.waiting))
            assert self.told == self.expected
            assert not self.waiting or self.active >= self.limit
            assert len(self.waiting) <= self.queue


TestAgainstAModel = Machine.TestCase


@given(st.lists(st.sampled_from(["come", "go", "wait"]), max_size=60))
async def test_everybody_who_waits_is_told_exactly_once(steps):
    clock, told = FakeClock(), []
    wheel = Wheel(clock)
    slots, waiting, number = Slots(2, queue=4, timeout=0.5, wheel=wheel), [], 0
    for step in steps:
        if step == "come":
            number += 1
            try:
                if not slots.enter(Waiter(number, told)):
                    waiting.append(number)
            except UpstreamError:
                assert len(slots) == 4
        elif step == "go" and slots.active:
            slots.leave()
        elif step == "wait":
            await clock.advance(0.15)
        assert slots.active <= 2
    await clock.advance(1.0)
    assert [name for _, name in told] == waiting
    await wheel.close()
