"""`micro.testing.FakeClock`: time moves when the test says so."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

import micro.testing
from micro.clock import uniform
from micro.ids import new_id
from micro.testing import FakeClock


def test_time_stands_still_until_it_is_advanced():
    clock = FakeClock()
    assert clock.now() == clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert clock.monotonic() == clock.monotonic() == 0.0


async def test_advance_moves_both_clocks():
    clock = FakeClock()
    await clock.advance(1.5)
    assert clock.monotonic() == 1.5
    assert clock.now() == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_the_wall_clock_is_in_utc_whatever_the_start_was_given_in():
    clock = FakeClock(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert clock.now().utcoffset() == timedelta()


async def test_advance_refuses_to_go_back():
    with pytest.raises(ValueError, match="never goes back"):
        await FakeClock().advance(-1)


def test_jump_moves_the_wall_clock_only():
    clock = FakeClock()
    clock.jump(-3600)
    assert clock.now() == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert clock.monotonic() == 0.0


async def test_sleepers_wake_in_the_order_of_their_deadlines():
    clock, woken = FakeClock(), []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for seconds in (3, 1, 2):
            group.create_task(sleeper(seconds))
        await clock.advance(5)
        assert woken == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert clock.monotonic() == 5.0


async def test_sleepers_with_the_same_deadline_wake_in_the_order_in_which_they_went_to_sleep():
    clock, woken = FakeClock(), []

    async def sleeper(name):
        await clock.sleep(1)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(sleeper(name))
        await clock.advance(1)
    assert woken == ["a", "b", "c"]


async def test_a_task_that_sleeps_again_is_woken_again_within_one_advance():
    clock, ticks = FakeClock(), []

    async def ticker():
        while True:
            await clock.sleep(0.1)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(0.3)
    task.cancel()
    assert ticks == [0.1, 0.2, 0.3]


async def test_who_sleeps_longer_than_the_advance_sleeps_on():
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(2))
    await clock.advance(1.999)
    assert not task.done()
    await clock.advance(0.001)
    assert task.done()


async def test_a_woken_task_runs_through_a_chain_of_awaits_before_advance_returns():
    clock, done = FakeClock(), asyncio.Event()

    async def chain():
        await clock.sleep(1)
        queue: asyncio.Queue[int] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.put(1))
            await queue.get()
        done.set()

    task = asyncio.create_task(chain())
    await clock.advance(1)
    assert done.is_set()
    await task


async def test_a_cancelled_sleeper_is_forgotten():
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.until_sleeping()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.sleeping == 0
    await clock.advance(2)
    assert clock.monotonic() == 2.0


@pytest.mark.parametrize("seconds", [0, -1])
async def test_sleeping_for_nothing_gives_way_without_time_passing(seconds):
    clock, seen = FakeClock(), []
    task = asyncio.create_task(asyncio.to_thread(seen.append, 1))
    await clock.sleep(seconds)
    assert clock.monotonic() == 0.0
    await task


async def test_the_smallest_positive_sleep_still_takes_time_so_that_a_deadline_loop_ends():
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1e-30))
    await clock.advance(0)
    assert not task.done()
    await clock.advance(1e-9)
    assert task.done()


async def test_until_sleeping_waits_for_the_given_number_of_tasks():
    clock = FakeClock()
    waiting = asyncio.create_task(clock.until_sleeping(2))
    first = asyncio.create_task(clock.sleep(1))
    await clock.advance(0)
    assert not waiting.done()
    second = asyncio.create_task(clock.sleep(1))
    async with asyncio.timeout(60):
        await waiting
    await clock.advance(1)
    assert first.done()
    assert second.done()


def test_chance_is_the_same_for_the_same_seed_and_differs_between_seeds():
    def draw(seed):
        clock = FakeClock(seed=seed)
        return [clock.randbits(64) for _ in range(8)], uniform(clock), new_id(clock)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_package_exports_what_it_says_and_nothing_else():
    for name in micro.testing.__all__:
        assert name in dir(micro.testing)
        assert getattr(micro.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="Nonsense"):
        micro.testing.Nonsense  # noqa: B018 - the access is the test


def test_importing_the_package_or_the_clock_loads_neither_pytest_nor_a_backend():
    code = (
        "import sys, micro.testing; micro.testing.FakeClock; "
        "print([m for m in ('pytest', '_pytest', 'aiosqlite', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
