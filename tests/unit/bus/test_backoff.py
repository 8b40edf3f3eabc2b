"""Waiting longer after every failure."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from micro.bus.backoff import Backoff, supervised

LOG = logging.getLogger("micro.service.test")


def test_waits_are_drawn_from_a_span_that_doubles_up_to_the_cap(clock):
    spans = []
    for failures in range(1, 9):
        waits = []
        for _ in range(300):
            backoff = Backoff(clock, base=1.0, cap=20.0)
            waits.append([backoff.failed() for _ in range(failures)][-1])
        spans.append((min(waits), max(waits)))
    for (low, high), bound in zip(spans, [2, 4, 8, 16, 20, 20, 20, 20], strict=True):
        assert 0 <= low < bound * 0.05
        assert bound * 0.95 < high < bound


def test_success_begins_anew(clock):
    backoff = Backoff(clock, base=1.0, cap=1000.0)
    for _ in range(50):
        backoff.failed()
    backoff.succeeded()
    assert backoff.failed() < 2


async def test_a_pause_ends_early_when_there_is_a_reason(clock):
    reason = asyncio.Event()
    pause = asyncio.create_task(Backoff(clock, base=1000.0, cap=1000.0).pause(unless=reason))
    await clock.until_sleeping()
    reason.set()
    async with asyncio.timeout(60):
        await pause


async def test_a_pause_ends_with_its_time(clock):
    pause = asyncio.create_task(Backoff(clock, base=1.0, cap=1.0).pause(unless=asyncio.Event()))
    await clock.until_sleeping()
    await clock.advance(1.0)
    assert pause.done()
    await pause


async def test_a_part_that_fails_is_logged_with_its_traceback_and_started_again(clock, caplog):
    runs = []

    async def part():
        runs.append(clock.monotonic())
        if len(runs) < 3:
            raise ValueError(f"run {len(runs)}")

    task = asyncio.create_task(supervised(part, "the part", clock=clock, log=LOG))
    await clock.advance(60)
    await task
    assert len(runs) == 3
    assert runs == sorted(set(runs)), "with a pause between"
    assert [record.getMessage() for record in caplog.records] == ["the part failed and is started again"] * 2
    assert "run 1" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_part_that_is_cancelled_by_what_it_waits_for_is_started_again(clock, caplog):
    runs = []

    async def part():
        runs.append(clock.monotonic())
        if len(runs) == 1:
            raise asyncio.CancelledError

    task = asyncio.create_task(supervised(part, "the part", clock=clock, log=LOG))
    await clock.advance(60)
    await task
    assert len(runs) == 2
    assert "the part was cancelled by something it waited for" in caplog.text


async def test_a_part_that_worked_for_long_starts_again_soon(clock):
    runs = []

    async def part():
        runs.append(clock.monotonic())
        await clock.sleep(100)
        raise ValueError

    task = asyncio.create_task(supervised(part, "the part", clock=clock, log=LOG))
    await clock.advance(3000)
    task.cancel()
    assert max(b - a for a, b in pairwise(runs)) < 101


async def test_cancelling_ends_the_part_for_good(clock):
    task = asyncio.create_task(supervised(lambda: clock.sleep(1000), "the part", clock=clock, log=LOG))
    await clock.until_sleeping()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
