"""What the runner of many processes does by itself; the rest of it is in tests/system."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from micro.clock import SystemClock
from micro.config.read import read_config
from micro.runtime.multi.runner import MultiRunner
from micro.runtime.options import RunnerOptions
from micro.runtime.state import StateFolder
from micro.runtime.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60.0


class Presence:
    """Reads the configuration again as soon as the test lets it."""

    def __init__(self) -> None:
        self.count = 0
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def reread(self) -> None:
        self.count += 1
        self.begun.set()
        await self.may_end.wait()
        self.may_end.clear()

    async def again(self) -> None:
        """Return when it has begun once more."""
        async with asyncio.timeout(LIMIT):
            await self.begun.wait()
        self.begun.clear()


@pytest.fixture
async def runner(tmp_path: Path) -> MultiRunner:
    config = read_config(tmp_path, {})
    folder = StateFolder(tmp_path / ".micro")
    options = RunnerOptions(folder=folder, observer=cast("Any", None), stop=Stop(), began=0.0)
    return MultiRunner(config, config.profile_as_written("prod"), options=options, clock=SystemClock())


async def test_many_requests_to_read_the_configuration_again_are_one(runner: MultiRunner) -> None:
    presence = Presence()
    for _ in range(3):
        runner.reread()  # nothing is there yet that could do it
    following = asyncio.create_task(runner._follow(cast("Any", presence)))
    await presence.again()
    for _ in range(3):
        runner.reread()
    presence.may_end.set()
    await presence.again()
    presence.may_end.set()
    runner.reread()
    await presence.again()
    assert presence.count == 3
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
