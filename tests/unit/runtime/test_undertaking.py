"""Work that goes on when nobody waits for it any more, until the stack stops."""

from __future__ import annotations

import asyncio

import pytest

from micro.errors import MicroError
from micro.runtime.undertaking import Undertakings


class Work:
    """Goes on until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.done = False

    async def run(self, error: Exception | None = None) -> str:
        self.begun.set()
        await self.may_end.wait()
        if error is not None:
            raise error
        self.done = True
        return "done"


@pytest.fixture
async def work() -> Work:
    return Work()


async def test_it_gives_what_the_work_returns_or_raises(work: Work) -> None:
    undertakings = Undertakings()
    work.may_end.set()
    assert await undertakings.finish(work.run()) == "done"
    with pytest.raises(ValueError, match="no"):
        await undertakings.finish(work.run(ValueError("no")))


async def test_it_is_finished_though_whoever_asked_goes_away(work: Work) -> None:
    undertakings = Undertakings()
    asked = asyncio.create_task(undertakings.finish(work.run()))
    await work.begun.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    work.may_end.set()
    await asyncio.gather(*undertakings._tasks)
    assert work.done


@pytest.mark.parametrize(
    ("error", "said"), [(MicroError("no room"), "no room"), (OSError("disk"), "what was asked for failed")]
)
async def test_a_failure_that_nobody_waits_for_is_logged(
    work: Work, error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    undertakings = Undertakings()
    asked = asyncio.create_task(undertakings.finish(work.run(error)))
    await work.begun.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    work.may_end.set()
    await asyncio.gather(*undertakings._tasks, return_exceptions=True)
    assert caplog.messages == [said]


async def test_the_end_cancels_it_and_says_so_to_whoever_waits(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    undertakings = Undertakings()
    waiting = asyncio.create_task(undertakings.finish(work.run()))
    gone = asyncio.create_task(undertakings.finish(work.run()))
    await work.begun.wait()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await undertakings.close()
    with pytest.raises(MicroError, match="the stack stops"):
        await waiting
    with pytest.raises(MicroError, match="the stack stops"):
        await undertakings.finish(work.run())
    assert not work.done
    assert caplog.messages == []
