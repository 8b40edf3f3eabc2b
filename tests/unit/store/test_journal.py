"""What is particular to the journal in SQLite."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus.message import Message, Partition, Record
from micro.bus.ports import Bounds
from micro.errors import StoreUnavailable, UniqueViolation
from micro.store.journal import SqliteJournal

P0 = Partition("orders", 0)


def record(offset, timestamp=0.0):
    return Record(P0, offset, Message("orders", "k", b"v"), timestamp)


@pytest.fixture
async def journal(tmp_path):
    journal = SqliteJournal(tmp_path / ".micro" / "bus.db")
    await journal.open()
    yield journal
    await journal.close()


async def test_an_offset_used_twice_is_a_unique_violation(journal):
    await journal.append([record(0)])
    with pytest.raises(UniqueViolation):
        await journal.append([record(0)])


async def test_trimming_drops_a_beginning_only_so_that_no_hole_appears(journal):
    """The wall clock may jump back: what follows a younger record stays with it."""
    await journal.append([record(0, 1.0), record(1, 9.0), record(2, 2.0)])
    assert (await journal.load(keep_since=5.0)).bounds == {P0: Bounds(1, 3)}
    assert [one.offset for one in await journal.read(P0, 0, 10)] == [1, 2]


async def test_the_file_is_locked_against_a_second_bus(journal, tmp_path):
    other = SqliteJournal(tmp_path / ".micro" / "bus.db")
    with pytest.raises(StoreUnavailable, match=r"bus\.db is in use"):
        await other.open()
    await other.close()


async def test_a_closed_journal_is_unavailable(journal):
    await journal.close()
    with pytest.raises(StoreUnavailable):
        await journal.append([record(0)])
    with pytest.raises(StoreUnavailable):
        await journal.read(P0, 0, 1)


async def test_every_write_crosses_once(journal):
    sent = []
    writer = journal._file._writer
    put = writer._tx.put_nowait
    writer._tx = type("Counting", (), {"put_nowait": lambda _, item: (sent.append(item), put(item))})()
    await journal.append([record(n) for n in range(100)])
    await journal.commit("group", {P0: 3})
    await journal.load(keep_since=0.0)
    assert len(sent) == 3


async def test_an_append_that_is_cancelled_is_stored_wholly_or_not_at_all(journal):
    stored = 0
    for turns in range(30):
        offsets = range(stored, stored + 5)
        task = asyncio.create_task(journal.append([record(offset) for offset in offsets]))
        for _ in range(turns):
            await asyncio.sleep(0)  # noqa: TID251 - gives way to the loop
        task.cancel()
        await asyncio.wait([task])
        bounds = (await journal.load(keep_since=0.0)).bounds.get(P0, Bounds(0, 0))
        assert bounds.end in {stored, stored + 5}
        stored = bounds.end
    assert len(await journal.read(P0, 0, 1000)) == stored
