"""A program's lines are taken as they come, but never faster than the pace."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from micro.runtime.programs.output import LONGEST_LINE, PACE, Output
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60.0


class Taken:
    """An output that is followed, and the end of the pipe that a program writes to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.clock = FakeClock()
        self.output = Output(self.lines.append, clock=self.clock)
        reading, self.pipe = os.pipe()
        os.set_blocking(self.pipe, False)
        self.following = asyncio.create_task(self.output.follow(reading))

    def write(self, data: bytes) -> int:
        """How much of it the pipe took."""
        try:
            return os.write(self.pipe, data)
        except BlockingIOError:
            return 0

    async def end(self) -> list[str]:
        os.close(self.pipe)
        async with asyncio.timeout(LIMIT):
            await self.following
        return self.lines


@pytest.fixture
async def taken() -> AsyncIterator[Taken]:
    made = Taken()
    yield made
    made.following.cancel()
    await asyncio.gather(made.following, return_exceptions=True)


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n  two \t\n", ["one", "  two"]),
        (b"\n\n \none\n", ["one"]),
        (b"no end of line", ["no end of line"]),
        (
            b"gr\xfc\xdfe \xc3\xa4\n",
            ["gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e \N{LATIN SMALL LETTER A WITH DIAERESIS}"],
        ),
        (b"", []),
    ],
)
async def test_each_line_is_told_without_its_end_and_blank_ones_are_not(
    taken: Taken, written: bytes, lines: list[str]
) -> None:
    taken.write(written)
    assert await taken.end() == lines
    assert taken.output.last == (lines[-1] if lines else "")


async def test_a_line_may_come_in_pieces(taken: Taken) -> None:
    for piece in (b"a lo", b"ng", b" one\nand"):
        taken.write(piece)
        await taken.clock.advance(0)
    assert taken.lines == ["a long one"]
    assert await taken.end() == ["a long one", "and"]


async def test_a_line_without_end_is_cut_and_nothing_is_lost(taken: Taken) -> None:
    written = taken.write(b"x" * (3 * LONGEST_LINE))
    lines = await taken.end()
    assert sum(map(len, lines)) == written
    assert max(map(len, lines)) < 2 * LONGEST_LINE


async def test_a_chatty_program_has_to_wait_until_the_second_is_over(taken: Taken) -> None:
    for _ in range(2):
        taken.write(b"a\n" * (PACE // 2 + 100))
    async with asyncio.timeout(LIMIT):
        await taken.clock.until_sleeping()
    assert len(taken.lines) == PACE
    full = sum(iter(lambda: taken.write(b"b" * 1024), 0))
    assert 0 < full < 1 << 20, "the pipe is full: who writes to it waits"
    assert len(taken.lines) == PACE
    await taken.clock.advance(1.0)
    lines = await taken.end()
    assert lines[PACE : PACE + 200] == ["a"] * 200


async def test_who_keeps_the_pace_never_waits(taken: Taken) -> None:
    for _ in range(3):
        taken.write(b"a\n" * (PACE - 100))
        await taken.clock.advance(1.0)
        taken.write(b"a\n" * 50)
        await taken.clock.advance(0)
    assert taken.clock.sleeping == 0
    assert len(await taken.end()) == 3 * (PACE - 50)


async def test_other_tasks_get_their_turn_between_the_lines(taken: Taken) -> None:
    seen: list[int] = []

    async def look() -> None:
        while True:
            seen.append(len(taken.lines))
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time

    looking = asyncio.create_task(look())
    taken.write(b"a\n" * 1000)
    await taken.end()
    looking.cancel()
    steps: Any = [after - before for before, after in pairwise(seen)]
    assert max(steps) <= 100


async def test_who_is_not_followed_any_more_finds_the_pipe_closed(taken: Taken) -> None:
    await taken.clock.advance(0)
    taken.following.cancel()
    await asyncio.gather(taken.following, return_exceptions=True)
    await taken.clock.advance(0)
    with pytest.raises(BrokenPipeError):
        os.write(taken.pipe, b"x")
    os.close(taken.pipe)
