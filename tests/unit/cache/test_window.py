"""The sliding window: exact whatever comes, bounded whoever comes."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given, settings
from hypothesis import strategies as st

from micro.cache.ports import Hit, Quota
from micro.cache.window import SlidingWindow


class Ticking:
    """A clock whose time a test sets. Whole units keep sums exact."""

    def __init__(self):
        self.time = 0.0

    def monotonic(self):
        return self.time


def window(clock=None, **bounds):
    return SlidingWindow(clock=clock or Ticking(), **bounds)


_WAITS = st.lists(st.integers(0, 40), max_size=120)


@settings(deadline=None)
@given(waits=_WAITS, limit=st.integers(1, 6), period=st.integers(1, 60))
def test_never_more_than_the_limit_in_any_period(waits, limit, period):
    clock = Ticking()
    limiter, allowed = window(clock), []
    for wait in waits:
        clock.time += wait
        if limiter.hit("k", limit, period).allowed:
            allowed.append(clock.time)
    for moment in allowed:
        assert sum(moment - period < other <= moment for other in allowed) <= limit


@settings(deadline=None)
@given(waits=_WAITS, limit=st.integers(1, 6), period=st.integers(1, 60))
def test_a_hit_is_refused_only_when_the_limit_is_used_up(waits, limit, period):
    """Against the definition: the allowed hits of the last period are counted one by one."""
    clock = Ticking()
    limiter, allowed = window(clock), []
    for wait in waits:
        clock.time += wait
        counting = len(allowed) - bisect_right(allowed, clock.time - period)
        hit = limiter.hit("k", limit, period)
        assert hit.allowed == (counting < limit)
        assert hit.remaining == max(0, limit - counting - 1)
        if hit.allowed:
            allowed.append(clock.time)
            assert hit.reset == period
        else:
            assert hit.reset == allowed[-limit] + period - clock.time


@settings(deadline=None)
@given(waits=_WAITS, limit=st.integers(1, 6), period=st.integers(1, 60))
def test_after_waiting_as_long_as_a_refusal_says_one_more_is_allowed_and_not_before(waits, limit, period):
    clock = Ticking()
    limiter = window(clock)
    for wait in waits:
        clock.time += wait
        hit = limiter.hit("k", limit, period)
        if not hit.allowed:
            assert hit.reset > 0
            clock.time += hit.reset - 0.5
            assert not limiter.hit("k", limit, period).allowed
            clock.time += 0.5
            assert limiter.hit("k", limit, period).allowed


@settings(deadline=None)
@given(
    hits=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=150),
    max_keys=st.integers(1, 6),
    max_hits=st.integers(1, 12),
)
def test_memory_stays_within_its_bounds_and_the_count_is_right(hits, max_keys, max_hits):
    clock = Ticking()
    limiter = window(clock, max_keys=max_keys, max_hits=max_hits)
    for wait, key in hits:
        clock.time += wait
        limiter.hit(f"{key}", 5, 10)
        held = sum(len(log.hits) for log in limiter._logs.values())
        assert held == limiter._held
        assert len(limiter._logs) <= max_keys
        assert held <= max_hits or len(limiter._logs) == 1


def test_a_limit_can_change_from_one_hit_to_the_next():
    limiter = window()
    assert all(limiter.hit("k", 5, 60).allowed for _ in range(5))
    assert not limiter.hit("k", 3, 60).allowed
    assert limiter.hit("k", 8, 60).remaining == 2


def test_a_limit_of_nothing_refuses_everything_and_holds_nothing():
    limiter = window(max_keys=10)
    for number in range(100):
        hit = limiter.hit(f"{number}", 0, 60)
        assert (hit.allowed, hit.remaining, hit.reset) == (False, 0, 60)
    assert len(limiter._logs) == 10


def test_a_flood_of_new_keys_does_not_free_a_busy_key():
    """The busy key goes on being hit, so it is never among the least recently hit."""
    limiter = window(max_keys=100)
    assert limiter.hit("busy", 1, 60).allowed
    for number in range(10_000):
        limiter.hit(f"flood {number}", 1, 60)
        if number % 50 == 0:
            assert not limiter.hit("busy", 1, 60).allowed


def test_idle_keys_go_before_keys_in_use():
    """A key with a long period that was hit long ago outlives keys with a short one that are idle by now."""
    clock = Ticking()
    limiter = window(clock, max_keys=4)
    assert limiter.hit("hourly", 1, 3600).allowed
    for number in range(3):
        limiter.hit(f"short {number}", 1, 1)
    clock.time = 10
    for number in range(3):
        assert limiter.hit(f"new {number}", 1, 60).allowed
    assert not limiter.hit("hourly", 1, 3600).allowed


@settings(deadline=None)
@given(hits=st.lists(st.one_of(st.sampled_from("abcd"), st.sets(st.sampled_from("abcd"), min_size=1))))
def test_who_was_hit_longest_ago_is_looked_at_first(hits):
    """However keys take turns, by themselves or several at once."""
    limiter, order = window(), []
    for hit in hits:
        keys = [hit] if isinstance(hit, str) else sorted(hit)
        if isinstance(hit, str):
            limiter.hit(f"key {hit}", 100, 1.0)
        else:
            limiter.hit_all([Quota(f"key {key}", 100, 1.0) for key in keys])
        order = [key for key in order if key not in keys] + keys
    assert list(limiter._logs) == [f"key {key}" for key in order]


def test_one_key_may_hold_more_than_the_bound_rather_than_start_anew():
    limiter = window(max_hits=3)
    hits = [limiter.hit("k", 5, 60).allowed for _ in range(7)]
    assert hits == [True] * 5 + [False] * 2


def test_clear_forgets_everything():
    limiter = window()
    limiter.hit("k", 1, 60)
    limiter.clear()
    assert limiter.hit("k", 1, 60).allowed
    assert limiter._held == 1


class Model:
    """`hit_all` by its definition: every request that was allowed is kept, and counted one by one."""

    def __init__(self):
        self.counted = {}

    def hit_all(self, quotas, now):
        hits = [self.counted.get(key, []) for key, _, _ in quotas]
        live = [
            [at for at in log if at > now - period] for log, (_, _, period) in zip(hits, quotas, strict=True)
        ]
        allowed = [len(log) < limit for log, (_, limit, _) in zip(live, quotas, strict=True)]
        if all(allowed):
            for key, _, _ in quotas:
                self.counted.setdefault(key, []).append(now)
            return [
                Hit(True, limit - len(log) - 1, period)
                for log, (_, limit, period) in zip(live, quotas, strict=True)
            ]
        return [
            Hit(True, limit - len(log), max(log) + period - now if log else 0)
            if free
            else Hit(False, 0, log[-limit] + period - now)
            for free, log, (_, limit, period) in zip(allowed, live, quotas, strict=True)
        ]


# Each key has one limit and one period, as the gateway's have.
_QUOTAS = [Quota("a", 2, 1), Quota("b", 3, 7), Quota("c", 5, 20), Quota("d", 1, 3)]


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 5), st.lists(st.sampled_from(_QUOTAS), unique=True, max_size=4)), max_size=80
    )
)
def test_several_quotas_agree_with_their_definition(requests):
    clock = Ticking()
    limiter, model = window(clock), Model()
    for wait, quotas in requests:
        clock.time += wait
        assert limiter.hit_all(quotas) == model.hit_all(quotas, clock.time)
        assert limiter._held == sum(len(log.hits) for log in limiter._logs.values())


@settings(deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 9), max_size=3)), max_size=80),
    max_keys=st.integers(3, 6),
    max_hits=st.integers(3, 12),
)
def test_several_quotas_keep_the_bounds_too(requests, max_keys, max_hits):
    clock = Ticking()
    limiter = window(clock, max_keys=max_keys, max_hits=max_hits)
    for wait, keys in requests:
        clock.time += wait
        limiter.hit_all([Quota(str(key), 5, 10) for key in keys])
        held = sum(len(log.hits) for log in limiter._logs.values())
        assert held == limiter._held
        assert len(limiter._logs) <= max_keys
        assert held <= max_hits or len(limiter._logs) <= max(1, len(keys))


def test_to_make_room_never_forgets_a_key_that_is_being_counted():
    """Even where the request has more quotas than keys may be kept."""
    limiter = window(max_keys=2)
    quotas = [Quota(str(number), 1, 60) for number in range(4)]
    assert all(hit.allowed for hit in limiter.hit_all(quotas))
    assert not any(hit.allowed for hit in limiter.hit_all(quotas))


def test_a_lowered_limit_is_free_again_when_enough_have_left():
    """Not when the first one has."""
    clock = Ticking()
    limiter = window(clock)
    for clock.time in (0, 1, 2):
        assert limiter.hit("k", 3, 10).allowed
    assert limiter.hit("k", 2, 10).reset == 9
    assert limiter.hit_all([Quota("k", 2, 10)])[0].reset == 9
    assert limiter.hit_all([Quota("k", 0, 10)]) == [Hit(False, 0, 10)]
