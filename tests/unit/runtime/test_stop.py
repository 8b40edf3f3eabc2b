"""The first request to stop drains, the second hurries."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from micro.runtime.stop import Stop, completes
from micro.testing import FakeClock

LIMIT = 60.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_ask_then_hurry_and_are_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stop() as stop:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(LIMIT):
            await stop.asked.wait()
        assert not stop.hurried.is_set()
        stop.ask()
        assert stop.hurried.is_set()
        assert signal.getsignal(number) == signal.SIG_DFL  # a third one ends the process
    assert signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}
    signal.signal(number, before)


async def test_asking_is_the_same_as_a_signal() -> None:
    with Stop() as stop:
        stop.ask()
        assert stop.asked.is_set()


async def test_work_that_is_not_interrupted_completes() -> None:
    done = []

    async def work() -> None:
        done.append(True)

    assert await completes(work(), unless=asyncio.Event()) is True
    assert done == [True]


async def test_an_error_of_the_work_passes() -> None:
    async def work() -> None:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        await completes(work(), unless=asyncio.Event())


async def test_the_event_cancels_the_work_and_waits_for_its_end() -> None:
    ended = []
    event = asyncio.Event()

    async def work() -> None:
        try:
            event.set()
            await asyncio.Event().wait()
        finally:
            await FakeClock().sleep(0)
            ended.append(True)

    assert await completes(work(), unless=event) is False
    assert ended == [True]
