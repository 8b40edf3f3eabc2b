"""Verbs that a helper process does: it is started for the first of them, and answers on a control socket of its own."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from micro.clock import SystemClock
from micro.errors import CallError, MicroError, UsageError
from micro.runtime.control import ControlServer
from micro.runtime.multi.relay import ANSWERS, STREAMS, Relay
from micro.runtime.operations import verbs_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from micro.runtime.system import System

LIMIT = 60.0


class Helper:
    """Stands for the process: listens while it runs."""

    name = "operations-1"

    def __init__(self, path: Path) -> None:
        self.starts = 0
        self.refuses = False
        self.path = path
        self.ended = asyncio.Event()
        self.closed_tail = asyncio.Event()
        self.server = ControlServer(
            path, {"events.tail": self._tail, "events.stats": self._stats, "db.query": self._query}
        )

    async def start(self) -> None:
        self.starts += 1
        if self.refuses:
            raise MicroError("no broker")
        await self.server.open()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        await self.server.close()
        self.ended.set()

    kill = stop

    async def _tail(self) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"n": 1}
            yield {"n": 2}
            await asyncio.Event().wait()
        finally:
            self.closed_tail.set()

    async def _stats(self, *, word: str = "") -> dict[str, Any]:
        return {"word": word}

    async def _query(self) -> dict[str, Any]:
        raise UsageError("no such table")


@pytest.fixture
def helper() -> Iterator[Helper]:
    with tempfile.TemporaryDirectory(prefix="mc") as folder:
        yield Helper(Path(folder) / "s.ops")


@pytest.fixture
async def relay(helper: Helper) -> AsyncIterator[Relay]:
    made = Relay(lambda: helper, helper.path)  # type: ignore[arg-type,return-value] # as far as a relay sees
    yield made
    await made.kill()


async def test_the_first_verb_starts_the_helper_and_all_are_answered_by_it(
    helper: Helper, relay: Relay
) -> None:
    verbs = relay.verbs()
    assert helper.starts == 0
    answers = await asyncio.gather(*(verbs["events.stats"](word=word) for word in "ab"))
    assert answers == [{"word": "a"}, {"word": "b"}]
    assert helper.starts == 1


async def test_items_come_as_they_are_made_and_leaving_cancels_the_verb(helper: Helper, relay: Relay) -> None:
    items = relay.verbs()["events.tail"]()
    async with asyncio.timeout(LIMIT):
        assert [await anext(items), await anext(items)] == [{"n": 1}, {"n": 2}]  # type: ignore[arg-type] # a stream
        await items.aclose()  # type: ignore[union-attr] # as above
        await helper.closed_tail.wait()


async def test_a_refusal_is_the_helpers_own_sentence(relay: Relay) -> None:
    with pytest.raises(UsageError, match=r"^no such table$"):
        await relay.verbs()["db.query"]()
    with pytest.raises(UsageError, match="knows no such verb"):
        await relay.verbs()["dlq.inspect"]()


async def test_a_helper_that_does_not_start_says_why_and_is_tried_again(helper: Helper, relay: Relay) -> None:
    helper.refuses = True
    with pytest.raises(MicroError, match="no broker"):
        await relay.verbs()["events.stats"]()
    helper.refuses = False
    assert await relay.verbs()["events.stats"]() == {"word": ""}
    assert helper.starts == 2


async def test_a_start_that_is_given_up_leaves_no_helper(
    helper: Helper, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "start", asyncio.Event().wait)
    asked = asyncio.create_task(relay.verbs()["events.stats"]())  # type: ignore[arg-type] # it is a coroutine
    while relay.helper is None:
        await SystemClock().sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert helper.ended.is_set()
    assert relay.helper is None


async def test_one_that_is_gone_is_told_as_that(helper: Helper, relay: Relay) -> None:
    await relay.verbs()["events.stats"]()
    await helper.server.close()
    with pytest.raises(CallError, match="is being started again"):
        await relay.verbs()["events.stats"]()


async def test_one_that_ends_in_the_middle_of_an_answer_is_told_as_that(helper: Helper, relay: Relay) -> None:
    items = relay.verbs()["events.tail"]()
    async with asyncio.timeout(LIMIT):
        assert await anext(items) == {"n": 1}  # type: ignore[arg-type] # a stream
        await anext(items)  # type: ignore[arg-type] # as above
        await helper.server.close()
        with pytest.raises(CallError, match="ended before it had answered"):
            await anext(items)  # type: ignore[arg-type] # as above


async def test_the_helper_ends_with_the_stack(helper: Helper, relay: Relay) -> None:
    await relay.stop()
    assert not helper.ended.is_set()
    await relay.verbs()["events.stats"]()
    await relay.stop()
    assert helper.ended.is_set()
    assert not helper.path.exists()


async def test_it_passes_on_every_verb_on_events_letters_and_databases(build: Callable[..., System]) -> None:
    verbs = verbs_of(build())
    wanted = {name: verb for name, verb in verbs.items() if name.partition(".")[0] in {"events", "dlq", "db"}}
    assert set(wanted) == STREAMS | ANSWERS
    coroutines = {name for name, verb in wanted.items() if inspect.iscoroutinefunction(inspect.unwrap(verb))}
    assert not coroutines & STREAMS
