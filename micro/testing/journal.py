"""The contract suite of the journal port: what the memory bus keeps its log in. Subclass, name the journal, run pytest.

Needs pytest-asyncio in its ``auto`` mode.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest

from micro.backend import Backend
from micro.bus.message import Message, Partition, Record
from micro.bus.ports import Bounds, Journal, JournalState
from micro.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

P0, P1 = Partition("orders", 0), Partition("orders", 1)


class OpenableJournal(Journal, Backend, Protocol):
    """A journal that is opened and closed."""


def records(partition: Partition, *offsets: int) -> list[Record]:
    """A record per offset, taken `offset` seconds after the epoch."""
    return [Record(partition, n, Message(partition.topic, f"k{n}", b"%d" % n), float(n)) for n in offsets]


class JournalContract:
    """What `micro.bus.ports.Journal` promises. A subclass gives `make`, which constructs one, always on the same data."""

    @pytest.fixture
    def make(self) -> Callable[[], OpenableJournal]:
        """Constructs a journal, without opening it."""
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    async def journal(self, make: Callable[[], OpenableJournal]) -> AsyncIterator[OpenableJournal]:
        """An open journal."""
        journal = make()
        await journal.open()
        yield journal
        await journal.close()

    async def test_an_empty_journal_holds_nothing(self, journal: OpenableJournal) -> None:
        assert await journal.load(keep_since=0) == JournalState(bounds={}, positions={})
        assert await journal.read(P0, 0, 10) == []

    async def test_a_record_comes_back_as_it_was_appended(self, journal: OpenableJournal) -> None:
        message = Message(
            "orders", "clé 🔑", bytes(range(256)), (("one", b"\x00\xff"), ("one", b""), ("zwö", b"x"))
        )
        record = Record(P0, 0, message, 1234.567891)
        await journal.append([record])
        assert await journal.read(P0, 0, 1) == [record]

    async def test_records_are_read_in_order_from_an_offset_up_to_a_limit(
        self, journal: OpenableJournal
    ) -> None:
        await journal.append([*records(P0, 2, 0, 1), *records(P1, 0)])
        await journal.append(records(P0, 3))
        assert await journal.read(P0, 0, 10) == records(P0, 0, 1, 2, 3)
        assert await journal.read(P0, 1, 2) == records(P0, 1, 2)
        assert await journal.read(P1, 0, 10) == records(P1, 0)
        assert await journal.read(P0, 4, 10) == []

    async def test_records_can_be_read_since_a_moment(self, journal: OpenableJournal) -> None:
        await journal.append(records(P0, 0, 1, 2))
        assert await journal.read(P0, 0, 10, since=1.0) == records(P0, 1, 2)
        assert await journal.read(P0, 0, 10, since=2.5) == []

    async def test_of_an_append_that_fails_nothing_is_stored(self, journal: OpenableJournal) -> None:
        await journal.append(records(P0, 1))
        with pytest.raises(StoreError):
            await journal.append([*records(P1, 0), *records(P0, 0, 1)])
        state = await journal.load(keep_since=0)
        assert state.bounds == {P0: Bounds(1, 2)}
        assert await journal.read(P1, 0, 10) == []

    async def test_appending_nothing_is_no_error(self, journal: OpenableJournal) -> None:
        await journal.append([])

    async def test_a_group_s_positions_are_kept_and_replaced(self, journal: OpenableJournal) -> None:
        await journal.commit("one", {P0: 1, P1: 5})
        await journal.commit("two", {P0: 7})
        await journal.commit("one", {P0: 2})
        await journal.commit("three", {})
        state = await journal.load(keep_since=0)
        assert state.positions == {"one": {P0: 2, P1: 5}, "two": {P0: 7}}

    async def test_loading_drops_what_is_too_old(self, journal: OpenableJournal) -> None:
        await journal.append([*records(P0, 0, 1, 2, 3), *records(P1, 0, 9)])
        state = await journal.load(keep_since=2.0)
        assert state.bounds == {P0: Bounds(2, 4), P1: Bounds(9, 10)}
        assert await journal.read(P0, 0, 10) == records(P0, 2, 3)

    async def test_the_end_of_a_partition_outlives_its_records(
        self, journal: OpenableJournal, make: Callable[[], OpenableJournal]
    ) -> None:
        await journal.append(records(P0, 0, 1, 2))
        state = await journal.load(keep_since=100.0)
        assert state.bounds == {P0: Bounds(3, 3)}
        await journal.close()
        again = make()
        await again.open()
        assert (await again.load(keep_since=0)).bounds == {P0: Bounds(3, 3)}
        await again.append(records(P0, 3))
        assert (await again.load(keep_since=0)).bounds == {P0: Bounds(3, 4)}
        await again.close()

    async def test_everything_is_there_after_close_and_open(
        self, journal: OpenableJournal, make: Callable[[], OpenableJournal]
    ) -> None:
        await journal.append(records(P0, 0, 1))
        await journal.commit("one", {P0: 1})
        await journal.close()
        again = make()
        await again.open()
        assert await again.load(keep_since=0) == JournalState(
            bounds={P0: Bounds(0, 2)}, positions={"one": {P0: 1}}
        )
        assert await again.read(P0, 0, 10) == records(P0, 0, 1)
        await again.close()

    async def test_concurrent_calls_all_come_through(self, journal: OpenableJournal) -> None:
        partitions = [Partition("orders", number) for number in range(10)]
        await asyncio.gather(*(journal.append(records(p, n)) for n in range(10) for p in partitions))
        state = await journal.load(keep_since=0)
        assert state.bounds == dict.fromkeys(partitions, Bounds(0, 10))

    async def test_closing_twice_or_before_opening_is_no_error(
        self, journal: OpenableJournal, make: Callable[[], OpenableJournal]
    ) -> None:
        await make().close()
        await journal.close()
        await journal.close()
