"""A rolling window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.window import SLOTS, Window

EVENTS = st.lists(st.tuples(st.floats(0, 12), st.booleans()), max_size=60)


def count(window, now, *, marked=False):
    if now >= window.turn:
        window.roll(now)
    window.requests += 1
    window.marked += marked


def test_what_happened_within_the_span_is_counted():
    window = Window(10.0)
    for now in range(9):
        count(window, float(now), marked=now % 3 == 0)
    assert (window.requests, window.marked) == (9, 3)


def test_what_is_older_than_the_span_is_forgotten_little_by_little():
    window = Window(10.0)
    for now in range(10):
        count(window, now + 0.5)
    seen = []
    for now in range(10, 21):
        window.roll(now + 0.6)
        seen.append(window.requests)
    assert seen == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]


def test_after_a_long_silence_nothing_is_left():
    window = Window(1.0)
    count(window, 0.0, marked=True)
    window.roll(1e9)
    assert (window.requests, window.marked) == (0, 0)
    count(window, 1e9 + 0.01)
    assert window.requests == 1


def test_a_cleared_window_has_counted_nothing():
    window = Window(1.0)
    count(window, 0.0, marked=True)
    window.clear()
    assert (window.requests, window.marked) == (0, 0)
    count(window, 0.2)
    assert window.requests == 1


def test_a_window_of_no_time_forgets_at_once():
    window = Window(0.0)
    count(window, 1.0)
    count(window, 2.0)
    assert window.requests == 1


@given(span=st.sampled_from([0.5, 1.0, 7.3, 10.0]), events=EVENTS)
def test_a_window_counts_all_of_nine_tenths_of_its_span_and_nothing_older_than_all_of_it(span, events):
    window, past, now = Window(span), [], 0.0
    for gap, marked in events:
        now += gap * span / 8
        count(window, now, marked=marked)
        past.append((now, marked))
        recent = [marked for moment, marked in past if moment > now - span * (SLOTS - 1) / SLOTS + 1e-6]
        possible = [marked for moment, marked in past if moment > now - span - 1e-6]
        assert len(recent) <= window.requests <= len(possible)
        assert sum(recent) <= window.marked <= sum(possible)


@given(events=EVENTS)
def test_a_window_never_keeps_more_than_its_slots(events):
    window, now = Window(1.0), 0.0
    for gap, marked in events:
        now += gap / 8
        count(window, now, marked=marked)
        assert len(window._past) < SLOTS
