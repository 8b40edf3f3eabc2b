"""A supervised worker is started again after a failure, later and later, and never in silence."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from micro.errors import StoreUnavailable
from micro.runtime.supervise import Supervised
from micro.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_a_failing_worker_starts_again_and_says_why(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    runs = []

    async def work() -> None:
        runs.append(clock.monotonic())
        raise RuntimeError("no mail server")

    worker = Supervised("task: deliver", work, clock=clock)
    task = asyncio.create_task(worker.run())
    await clock.advance(200)
    task.cancel()
    waits = [later - earlier for earlier, later in pairwise(runs)]
    assert 0.25 <= waits[0] <= 0.5
    assert all(15 <= wait <= 30 for wait in waits[7:])
    assert worker.restarts == len(runs)
    assert "task: deliver failed" in caplog.text
    assert "no mail server" in caplog.text


@pytest.mark.parametrize("many", [False, True])
async def test_an_error_of_ours_is_one_line(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, many: bool
) -> None:
    async def work() -> None:
        error = StoreUnavailable("db/task: no server answers")
        raise ExceptionGroup("in a group", [error, error]) if many else error

    task = asyncio.create_task(Supervised("task: deliver", work, clock=clock).run())
    await clock.advance(0)
    task.cancel()
    [record] = caplog.records
    assert record.getMessage().endswith(" s: db/task: no server answers")
    assert record.exc_info is None


async def test_beside_another_error_it_is_shown_with_its_place(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise ExceptionGroup("in a group", [StoreUnavailable("no server answers"), KeyError("x")])

    task = asyncio.create_task(Supervised("task: deliver", work, clock=clock).run())
    await clock.advance(0)
    task.cancel()
    assert "KeyError: 'x'" in caplog.text


async def test_after_a_long_good_run_the_wait_is_short_again(clock: FakeClock) -> None:
    runs = []

    async def work() -> None:
        runs.append(clock.monotonic())
        if len(runs) == 8:
            await clock.sleep(100)
        raise RuntimeError

    task = asyncio.create_task(Supervised("x", work, clock=clock).run())
    await clock.advance(300)
    task.cancel()
    assert runs[8] - runs[7] <= 100.5


async def test_one_that_is_cancelled_by_what_it_waits_for_starts_again(clock: FakeClock) -> None:
    runs = []

    async def work() -> None:
        runs.append(clock.monotonic())
        if len(runs) == 1:
            raise asyncio.CancelledError

    worker = Supervised("the worker", work, clock=clock)
    task = asyncio.create_task(worker.run())
    await clock.advance(60)
    await task
    assert (len(runs), worker.restarts) == (2, 1)


async def test_a_worker_that_returns_has_finished(clock: FakeClock) -> None:
    async def work() -> None:
        return None

    worker = Supervised("x", work, clock=clock)
    await worker.run()
    assert worker.restarts == 0


async def test_cancelling_stops_it(clock: FakeClock) -> None:
    async def work() -> None:
        await clock.sleep(1000)

    task = asyncio.create_task(Supervised("x", work, clock=clock).run())
    await clock.until_sleeping()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
