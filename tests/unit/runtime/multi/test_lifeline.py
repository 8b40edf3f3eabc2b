"""The line between two processes, both ends of it here."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from micro.clock import SystemClock
from micro.errors import CallError, MicroError, NotFound, UsageError
from micro.runtime.multi import lifeline as module
from micro.runtime.multi.lifeline import LifeLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 60.0


@asynccontextmanager
async def line(**verbs: Any) -> AsyncIterator[tuple[LifeLine, LifeLine, asyncio.Queue[Any]]]:
    """One end, the other that answers `verbs`, and what the other has heard."""
    ours, theirs = socket.socketpair()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    one = LifeLine(ours, hear=lambda *news: None)
    other = LifeLine(theirs, hear=lambda *news: heard.put_nowait(news), verbs=verbs)
    await one.open()
    await other.open()
    tasks = [asyncio.create_task(each.run()) for each in (one, other)]
    try:
        async with asyncio.timeout(LIMIT):
            yield one, other, heard
    finally:
        for each in (one, other):
            each.close()
        await asyncio.gather(*tasks)


async def test_what_is_said_is_heard_in_order() -> None:
    async with line() as (one, _, heard):
        one.say("built", facts={"port": 1})
        one.say("ready")
        assert await heard.get() == ("built", {"facts": {"port": 1}})
        assert await heard.get() == ("ready", {})


async def test_questions_are_answered_in_whatever_order() -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def slow(**args: Any) -> dict[str, Any]:
        first.set()
        await second.wait()
        return args

    async def quick(*, word: str) -> dict[str, Any]:
        return {"word": word}

    async with line(slow=slow, quick=quick) as (one, _, _):
        waiting = asyncio.create_task(one.ask("slow", timeout=LIMIT, a=1))
        await first.wait()
        assert await one.ask("quick", timeout=LIMIT, word="x") == {"word": "x"}
        second.set()
        assert await waiting == {"a": 1}


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (NotFound("no such thing"), UsageError, "no such thing"),
        (MicroError("that failed"), MicroError, "that failed"),
        (ValueError("odd"), MicroError, "verb: ValueError: odd"),
    ],
)
async def test_a_refusal_comes_back_as_its_sentence(error: Exception, kind: Any, text: str) -> None:
    async def verb() -> dict[str, Any]:
        raise error

    async with line(verb=verb) as (one, _, _):
        with pytest.raises(kind, match=f"^{text}$"):
            await one.ask("verb", timeout=LIMIT)


async def test_a_verb_that_is_not_known_is_refused() -> None:
    async with line() as (one, _, _):
        with pytest.raises(UsageError, match="knows no such verb"):
            await one.ask("verb", timeout=LIMIT)


async def test_silence_is_an_error_after_a_time_and_a_late_answer_is_dropped() -> None:
    over = asyncio.Event()

    async def verb() -> dict[str, Any]:
        await over.wait()
        return {}

    async def other() -> dict[str, Any]:
        return {"here": True}

    async with line(verb=verb, other=other) as (one, _, _):
        with pytest.raises(CallError, match=r"verb: no answer within 0.01 s"):
            await one.ask("verb", timeout=0.01)
        over.set()
        assert await one.ask("other", timeout=LIMIT) == {"here": True}


async def test_when_the_other_side_goes_every_question_fails_and_so_do_later_ones() -> None:
    async def verb() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with line(verb=verb) as (one, other, _):
        waiting = asyncio.create_task(one.ask("verb", timeout=LIMIT))
        await SystemClock().sleep(0)
        other.close()
        with pytest.raises(CallError, match="the process is gone"):
            await waiting
        with pytest.raises(CallError, match="the process is gone"):
            await one.ask("verb", timeout=LIMIT)
        one.say("hello")  # nobody is there, and that is no error


async def test_one_that_reads_nothing_is_stuck_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_UNREAD", 1000)
    ours, theirs = socket.socketpair()
    one = LifeLine(ours, hear=lambda *news: None)
    await one.open()
    for _ in range(100):
        one.say("word", text="x" * 10_000)
    with pytest.raises(CallError, match="stuck: it reads nothing"):
        await one.ask("verb", timeout=LIMIT)
    one.close()
    theirs.close()


async def test_what_can_t_be_read_ends_the_line_aloud(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair()
    one = LifeLine(ours, hear=lambda *news: None)
    await one.open()
    theirs.sendall(b"no json\n")
    async with asyncio.timeout(LIMIT):
        await one.run()
    assert "sent what can't be read" in caplog.text
    theirs.close()


async def test_half_a_message_of_a_process_that_was_killed_is_the_end_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = socket.socketpair()
    one = LifeLine(ours, hear=lambda *news: pytest.fail("half a message was heard"))
    await one.open()
    theirs.sendall(b'{"say": "rea')
    theirs.close()
    async with asyncio.timeout(LIMIT):
        await one.run()
    assert caplog.text == ""
    one.close()
