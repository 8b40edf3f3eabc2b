"""The log is read in the order of time, completely, whatever its partitions hold."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.bus.message import Message, Partition, Record
from micro.bus.ports import Bounds
from micro.clock import SystemClock
from micro.errors import BusUnavailable
from micro.runtime.operations import reading
from micro.runtime.operations.reading import Span, follow, history, spans

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 60.0


class Log:
    """Partitions of topic `t`, each with the timestamps of its records; old ones may be gone."""

    def __init__(self, *partitions: Sequence[float], gone: int = 0) -> None:
        self.records = {
            Partition("t", number): [
                Record(Partition("t", number), offset, Message("t", "k", b""), timestamp)
                for offset, timestamp in enumerate(sorted(times))
            ]
            for number, times in enumerate(partitions)
        }
        self.gone = gone
        self.reads = 0
        self.broken = False

    async def topics(self) -> dict[str, int]:
        return {"t": len(self.records)}

    async def bounds(self, partition: Partition, *, since: float | None = None) -> Bounds:
        held = self.records[partition]
        start = next((r.offset for r in held if since is None or r.timestamp >= since), len(held))
        return Bounds(min(max(start, self.gone), len(held)), len(held))

    async def read(self, partition: Partition, offset: int, *, limit: int, wait: float = 0.0) -> list[Record]:
        self.reads += 1
        if self.broken:
            raise BusUnavailable("the bus is closed")
        found = [r for r in self.records[partition] if r.offset >= max(offset, self.gone)][:limit]
        if not found and wait:
            await asyncio.Event().wait()
        return found


def log_of(*partitions: Sequence[float], **arguments: int) -> Any:
    return Log(*partitions, **arguments)


async def everything(log: Any, wanted: dict[Partition, Span]) -> list[Record]:
    async with aclosing(history(log, wanted)) as records:
        return [record async for record in records]


@given(st.lists(st.lists(st.integers(0, 50).map(float), max_size=30), max_size=6), st.integers(1, 4))
def test_every_record_comes_once_in_the_order_of_time(partitions: list[list[float]], chunk: int) -> None:
    log = log_of(*partitions)

    async def read() -> list[Record]:
        return await everything(log, await spans(log))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        found = asyncio.run(read())
    assert [record.timestamp for record in found] == sorted(time for times in partitions for time in times)
    for partition, held in log.records.items():
        assert [record for record in found if record.partition == partition] == held


async def test_a_span_is_read_from_its_start_to_before_its_end() -> None:
    log = log_of([1, 2, 3, 4, 5])
    found = await everything(log, {Partition("t", 0): Span(1, 4)})
    assert [record.offset for record in found] == [1, 2, 3]


async def test_what_was_dropped_meanwhile_is_passed_over() -> None:
    log = log_of([1, 2, 3], gone=2)
    assert [record.offset for record in await everything(log, {Partition("t", 0): Span(0, 3)})] == [2]
    log = log_of([1, 2, 3], gone=3)
    assert await everything(log, {Partition("t", 0): Span(0, 3)}) == []


async def test_spans_are_of_the_topics_asked_for_and_from_a_time_on() -> None:
    log = log_of([1, 2, 3], [])
    assert await spans(log, ["t"], since=2.0) == {
        Partition("t", 0): Span(1, 3),
        Partition("t", 1): Span(0, 0),
    }
    assert await spans(log, ["other"]) == {}


async def test_what_arrives_together_is_followed_in_the_order_of_time() -> None:
    log = log_of([1, 4, 5], [2, 3, 6])
    async with aclosing(follow(log, {}, (), clock=SystemClock())) as records, asyncio.timeout(LIMIT):
        found = [await anext(records) for _ in range(6)]
    assert sorted(record.timestamp for record in found) == [1, 2, 3, 4, 5, 6]


async def test_following_starts_where_it_is_told_and_waits_without_asking_again() -> None:
    log = log_of([1, 2, 3])
    async with aclosing(follow(log, {Partition("t", 0): 2}, (), clock=SystemClock())) as records:
        async with asyncio.timeout(LIMIT):
            assert (await anext(records)).offset == 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(records)
        assert log.reads == 2


async def test_a_reader_that_fails_ends_the_following_with_its_error() -> None:
    log = log_of([1])
    log.broken = True
    async with aclosing(follow(log, {}, (), clock=SystemClock())) as records, asyncio.timeout(LIMIT):
        with pytest.raises(BusUnavailable, match="closed"):
            await anext(records)
