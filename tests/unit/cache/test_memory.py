"""The memory cache: what leaves it, and when."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from micro.cache.memory import MemoryCache
from micro.testing import FakeClock


async def test_the_least_recently_used_value_goes_first():
    cache = MemoryCache("memory:", clock=FakeClock(), max_entries=3)
    for key in "abc":
        await cache.set(key, key.encode(), ttl=60)
    assert await cache.get("a") == b"a"
    await cache.set("d", b"d", ttl=60)
    assert [await cache.get(key) for key in "abcd"] == [b"a", None, b"c", b"d"]


async def test_setting_a_key_again_counts_as_a_use_and_takes_no_second_place():
    cache = MemoryCache("memory:", clock=FakeClock(), max_entries=2)
    await cache.set("a", b"1", ttl=60)
    await cache.set("b", b"1", ttl=60)
    await cache.set("a", b"2", ttl=60)
    await cache.set("c", b"1", ttl=60)
    assert [await cache.get(key) for key in "abc"] == [b"2", None, b"1"]


async def test_the_bytes_are_bounded_too():
    cache = MemoryCache("memory:", clock=FakeClock(), max_bytes=10)
    await cache.set("a", b"12345", ttl=60)
    await cache.set("b", b"12345", ttl=60)
    await cache.set("c", b"1", ttl=60)
    assert [await cache.get(key) for key in "abc"] == [None, b"12345", b"1"]


async def test_a_value_larger_than_the_cache_is_not_kept_and_replaces_the_old_one():
    cache = MemoryCache("memory:", clock=FakeClock(), max_bytes=10)
    await cache.set("a", b"old", ttl=60)
    await cache.set("b", b"other", ttl=60)
    await cache.set("a", b"x" * 11, ttl=60)
    assert [await cache.get(key) for key in "ab"] == [None, b"other"]


async def test_a_value_that_expired_takes_no_room():
    clock = FakeClock()
    cache = MemoryCache("memory:", clock=clock)
    await cache.set("a", b"12345", ttl=1)
    await clock.advance(1)
    assert await cache.get("a") is None
    assert (len(cache._entries), cache._bytes) == (0, 0)


async def test_a_jump_of_the_wall_clock_expires_nothing():
    clock = FakeClock()
    cache = MemoryCache("memory:", clock=clock)
    await cache.set("a", b"value", ttl=60)
    clock.jump(3600)
    assert await cache.get("a") == b"value"


async def test_closing_forgets_values_and_hits():
    cache = MemoryCache("memory:", clock=FakeClock())
    await cache.open()
    await cache.set("a", b"value", ttl=60)
    cache.hit("a", 1, 60)
    await cache.close()
    assert await cache.get("a") is None
    assert cache.hit("a", 1, 60).allowed


_STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "get", "delete", "wait"]), st.sampled_from("abcde"), st.integers(0, 6)),
    max_size=60,
)


@settings(deadline=None)
@given(_STEPS)
async def test_whatever_is_done_a_value_is_the_last_one_set_or_gone_and_the_bounds_hold(steps):
    clock = FakeClock()
    cache = MemoryCache("memory:", clock=clock, max_entries=3, max_bytes=12)
    last = {}
    for step, key, number in steps:
        if step == "set":
            await cache.set(key, bytes(number), ttl=number)
            last[key] = (bytes(number), clock.monotonic() + number)
        elif step == "delete":
            await cache.delete(key)
            last.pop(key, None)
        elif step == "wait":
            await clock.advance(number)
        else:
            value = await cache.get(key)
            expected, expires = last.get(key, (None, 0))
            assert value is None or (value == expected and clock.monotonic() < expires)
        assert len(cache._entries) <= 3
        assert sum(len(value) for value, _ in cache._entries.values()) == cache._bytes <= 12
