"""Cancellations that nobody meant."""

from __future__ import annotations

import asyncio

import pytest

from micro.cancellation import uncancelled


async def cancel_a_task_of_ones_own():
    """As libraries do when they stop."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


async def test_one_that_comes_out_of_what_is_awaited_is_an_error():
    sentence = r"^the library was cancelled by something it waited for$"
    with pytest.raises(RuntimeError, match=sentence), uncancelled("the library"):
        await cancel_a_task_of_ones_own()


async def test_one_that_is_meant_goes_through():
    begun = asyncio.Event()

    async def work():
        with uncancelled("the library"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_so_does_a_time_limit():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            with uncancelled("the library"):
                await asyncio.Event().wait()


async def test_another_error_is_what_it_was():
    with pytest.raises(KeyError), uncancelled("the library"):
        raise KeyError
