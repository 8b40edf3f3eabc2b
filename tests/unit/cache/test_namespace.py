"""A namespace of a cache: what is loaded by whom, and who waits for how long."""

from __future__ import annotations

import asyncio

import pytest

from micro.cache.memory import MemoryCache
from micro.cache.namespace import LOOK, Namespace
from micro.testing import FakeClock

LIMIT = 60.0
"""Seconds after which a test stops waiting; nothing takes anywhere near as long."""


class Source:
    """Where values are loaded from: each load waits to be told what it gives."""

    def __init__(self):
        self.loads = []
        self.cancelled = 0
        self._began = asyncio.Event()

    async def load(self):
        outcome = asyncio.get_running_loop().create_future()
        self.loads.append(outcome)
        self._began.set()
        try:
            return await outcome
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def began(self, count=1):
        """Return when so many loads have begun; the last one."""
        async with asyncio.timeout(LIMIT):
            while len(self.loads) < count:
                self._began.clear()
                await self._began.wait()
        return self.loads[-1]


class Away(MemoryCache):
    """A cache on a server that is out of reach."""

    async def get(self, key):
        return None

    async def set(self, key, value, *, ttl):
        pass

    async def add(self, key, value, *, ttl):
        return True


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def cache(clock):
    return MemoryCache("memory:", clock=clock)


@pytest.fixture
def make(cache, clock):
    """The namespace of one service, as each of its processes has it."""
    return lambda: Namespace(cache, "shop", clock=clock)


@pytest.fixture
def source():
    return Source()


@pytest.fixture
async def ask():
    """Ask in a task of its own; none is left behind."""
    tasks = []

    def asking(space, source, *, key="key", ttl=60.0, **options):
        task = asyncio.create_task(space.get_or_set(key, source.load, ttl=ttl, **options))
        tasks.append(task)
        return task

    yield asking
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def all_wait(clock):
    """Let every task run until it waits for another, or for time to pass."""
    await clock.advance(0)


async def test_what_is_there_is_not_loaded(make, source):
    space = make()
    await space.set("key", b"value", ttl=60)
    assert await space.get_or_set("key", source.load, ttl=60) == b"value"
    assert source.loads == []


async def test_what_was_loaded_is_kept_for_its_time(make, source, ask, clock):
    task = ask(make(), source, ttl=10)
    (await source.began()).set_result(b"value")
    assert await task == b"value"
    assert await make().get("key") == b"value"
    await clock.advance(10)
    assert await make().get("key") is None


async def test_each_key_is_loaded_by_itself(make, source, ask):
    space = make()
    one, other = ask(space, source, key="one"), ask(space, source, key="other")
    await source.began(2)
    source.loads[1].set_result(b"2")
    assert await other == b"2"
    source.loads[0].set_result(b"1")
    assert await one == b"1"


async def test_an_error_is_everybody_s_who_waits_and_the_next_one_loads_again(make, source, ask, clock):
    space = make()
    tasks = [ask(space, source) for _ in range(3)]
    load = await source.began()
    await all_wait(clock)
    load.set_exception(LookupError("no such thing"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in outcomes] == ["no such thing"] * 3
    task = ask(space, source)
    (await source.began(2)).set_result(b"value")
    assert await task == b"value"


async def test_an_error_keeps_no_other_process_from_loading(make, source, ask, clock):
    failing, waiting = ask(make(), source), ask(make(), source)
    load = await source.began()
    await all_wait(clock)
    load.set_exception(LookupError("no such thing"))
    with pytest.raises(LookupError):
        await failing
    await clock.advance(LOOK)
    (await source.began(2)).set_result(b"value")
    assert await waiting == b"value"


@pytest.mark.parametrize("leaving", [0, 1], ids=["who began it", "who joined"])
async def test_who_is_cancelled_takes_the_load_from_nobody(make, source, ask, clock, leaving):
    space = make()
    tasks = [ask(space, source) for _ in range(3)]
    load = await source.began()
    await all_wait(clock)
    gone = tasks.pop(leaving)
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    load.set_result(b"value")
    assert await asyncio.gather(*tasks) == [b"value"] * 2
    assert (len(source.loads), source.cancelled) == (1, 0)


async def test_a_load_that_nobody_waits_for_any_more_is_cancelled_and_the_next_one_begins_anew(
    make, source, ask, clock
):
    space = make()
    tasks = [ask(space, source) for _ in range(2)]
    await source.began()
    await all_wait(clock)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    again = ask(space, source)
    (await source.began(2)).set_result(b"value")
    assert await again == b"value"
    assert source.cancelled == 1


async def test_while_one_process_loads_the_others_look_for_its_value(make, source, ask, clock):
    loading, waiting = ask(make(), source), ask(make(), source)
    load = await source.began()
    await clock.advance(4.9)
    assert not waiting.done()
    load.set_result(b"value")
    assert await loading == b"value"
    await clock.advance(LOOK)
    assert waiting.done()
    assert (await waiting, len(source.loads)) == (b"value", 1)


async def test_a_value_that_comes_from_elsewhere_ends_the_wait_for_one_that_hangs(make, source, ask, clock):
    ask(make(), source)
    await source.began()
    waiting = ask(make(), source)
    await all_wait(clock)
    await make().set("key", b"theirs", ttl=60)
    await clock.advance(LOOK)
    assert waiting.done()
    assert await waiting == b"theirs"


async def test_one_that_hangs_is_waited_for_until_its_lock_ends_and_then_one_of_the_others_loads(
    make, source, ask, clock
):
    hanging = ask(make(), source, lock_timeout=5)
    await source.began()
    others = [ask(make(), source, lock_timeout=5) for _ in range(3)]
    await clock.advance(4.9)
    assert len(source.loads) == 1
    await clock.advance(0.2)
    assert len(source.loads) == 2
    source.loads[0].set_result(b"late")
    assert await hanging == b"late"
    source.loads[1].set_result(b"value")
    await clock.advance(LOOK)
    assert len(source.loads) == 2
    assert {await each for each in others} <= {b"late", b"value"}


async def test_one_that_comes_back_late_leaves_its_successor_s_lock_alone(make, source, ask, clock):
    hanging = ask(make(), source, ttl=0, lock_timeout=5)
    await source.began()
    ask(make(), source, lock_timeout=5)
    await clock.advance(5.1)
    assert len(source.loads) == 2
    source.loads[0].set_result(b"late")
    assert await hanging == b"late"
    ask(make(), source, lock_timeout=5)
    await clock.advance(1)
    assert len(source.loads) == 2, "the third finds the second's lock"


async def test_nobody_waits_for_longer_than_two_locks(make, source, ask, clock):
    """The first hangs, so does its successor, whose lock doesn't end in time for the third."""
    for lock_timeout in (5, 60, 5):
        ask(make(), source, lock_timeout=lock_timeout)
        await all_wait(clock)
    await clock.advance(9.9)
    assert len(source.loads) == 2
    await clock.advance(0.1)
    assert len(source.loads) == 3


async def test_where_the_cache_is_out_of_reach_each_process_loads_once(source, ask, clock):
    cache = Away("memory:", clock=clock)
    spaces = [Namespace(cache, "shop", clock=clock) for _ in range(2)]
    tasks = [ask(space, source) for space in spaces for _ in range(5)]
    await source.began(2)
    await all_wait(clock)
    for load in source.loads:
        load.set_result(b"value")
    assert await asyncio.gather(*tasks) == [b"value"] * 10
    assert len(source.loads) == 2


async def test_a_value_that_comes_while_the_lock_is_asked_for_is_taken(make, cache, source, monkeypatch):
    space = make()
    add = cache.add

    async def late(key, value, *, ttl):
        await make().set("key", b"theirs", ttl=60)
        return await add(key, value, ttl=ttl)

    monkeypatch.setattr(cache, "add", late)
    assert await space.get_or_set("key", source.load, ttl=60) == b"theirs"
    assert source.loads == []


@pytest.mark.parametrize("value", ["text", None, 7])
async def test_what_is_not_bytes_is_refused_whoever_gives_it(make, source, ask, value):
    space = make()
    with pytest.raises(TypeError, match=f"bytes, and 'key' was to be {type(value).__name__}"):
        await space.set("key", value, ttl=60)
    task = ask(space, source)
    (await source.began()).set_result(value)
    with pytest.raises(TypeError, match="a cache keeps bytes"):
        await task


@pytest.mark.parametrize("key", ["", "lock:key", "a/b", "other:key", "ä"])
async def test_whatever_a_key_looks_like_it_is_its_owner_s(cache, clock, source, ask, key):
    names = ["shop", "shop-2", "lock"]
    spaces = [Namespace(cache, name, clock=clock) for name in names]
    for space, name in zip(spaces, names, strict=True):
        await space.set(key, name.encode(), ttl=60)
    ask(spaces[0], source, key="key")
    await source.began()
    assert [await space.get(key) for space in spaces] == [name.encode() for name in names]
    await spaces[0].delete(key)
    assert [await space.get(key) for space in spaces] == [None, b"shop-2", b"lock"]
