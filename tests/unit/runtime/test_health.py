"""Verdicts are made in the background and told once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from micro.runtime.health import HealthBoard
from micro.testing import FakeClock


class Probe:
    def __init__(self, *, well: bool = True) -> None:
        self.well = well
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        if not self.well:
            raise TimeoutError
        return True


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


def board(told: list[tuple[str, str]], clock: FakeClock, **probes: Probe) -> HealthBoard:
    return HealthBoard(probes, clock=clock, changed=lambda *news: told.append(news))


async def test_before_the_first_look_a_service_is_starting(told: Any) -> None:
    assert board(told, FakeClock(), task=Probe()).read() == {"task": "starting"}


async def test_each_change_is_told_once(told: Any, caplog: Any) -> None:
    clock, task, user = FakeClock(), Probe(), Probe(well=False)
    looked = board(told, clock, task=task, user=user)
    running = asyncio.create_task(looked.run())
    await clock.advance(4.0)
    assert looked.read() == {"task": "healthy", "user": "unhealthy"}
    assert sorted(told) == [("task", "healthy"), ("user", "unhealthy")]
    assert task.asked == 3
    user.well = True
    await clock.advance(2.0)
    assert told[-1] == ("user", "healthy")
    assert caplog.messages == ["user is unhealthy"]
    running.cancel()


async def test_one_can_wait_until_all_are_healthy(told: Any) -> None:
    probe = Probe(well=False)
    looked = board(told, FakeClock(), task=probe)
    waiting = asyncio.create_task(looked.healthy())
    await looked.check()
    await FakeClock().sleep(0)
    assert not waiting.done()
    probe.well = True
    await looked.check()
    async with asyncio.timeout(60):
        await waiting


async def test_verdicts_of_others_are_read_and_are_no_news_of_this_board(told: Any, caplog: Any) -> None:
    """Whoever makes them tells them."""
    caplog.set_level("INFO")
    looked = board(told, FakeClock(), task=Probe())
    said = ["starting"]
    looked.follow("far", lambda: said[-1])
    assert looked.read() == {"task": "starting", "far": "starting"}
    said.append("crash-loop")
    assert looked.read()["far"] == "crash-loop", "as it stands"
    said.append("healthy")
    waiting = asyncio.create_task(looked.healthy())
    await looked.check()
    async with asyncio.timeout(60):
        await waiting
    assert told == [("task", "healthy")]
    assert caplog.messages == ["far is crash-loop", "far is healthy again"]


async def test_one_that_waits_for_all_hears_of_followed_ones_when_the_board_is_told_to_look(
    told: Any,
) -> None:
    looked = board(told, FakeClock())
    said = ["unhealthy"]
    looked.follow("far", lambda: said[-1])
    looked.look()
    waiting = asyncio.create_task(looked.healthy())
    await FakeClock().sleep(0)
    assert not waiting.done()
    said.append("healthy")
    looked.look()
    async with asyncio.timeout(60):
        await waiting


async def test_what_is_watched_beside_services_is_shown_while_it_is_unwell_and_waited_for_by_nobody(
    told: Any,
) -> None:
    looked = board(told, FakeClock(), task=Probe())
    said = ["healthy"]
    looked.watch("cache", lambda: said[-1])
    await looked.check()
    assert looked.read() == {"task": "healthy"}
    said.append("degraded")
    assert looked.read() == {"task": "healthy", "cache": "degraded"}
    assert "cache" not in looked.verdicts
    async with asyncio.timeout(60):
        await looked.healthy()
