"""Short reads on the event loop itself: what they answer, and when they step aside."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from micro.errors import StoreError, StoreUnavailable
from micro.store.sqlite_quick import QuickReader, TooLong

MANY = "with recursive c(n) as (select 1 union all select n + 1 from c limit 100000) select count(*) from c"


@pytest.fixture
def path(tmp_path):
    """A database with one row."""
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table item (id text primary key) strict")
        connection.execute("insert into item values ('a')")
    connection.close()
    return path


@pytest.fixture
def reader(path):
    """A reader of that database."""
    reader = QuickReader(path, pragmas=("query_only=ON",))
    reader.open()
    yield reader
    reader.close()


async def test_rows_come_by_name_and_index(reader):
    """As from every other connection."""
    [row] = await reader.fetch("select id from item where id = ?", ("a",))
    assert (row["id"], row[0]) == ("a", "a")


async def test_what_takes_many_steps_is_given_up(reader):
    """The event loop is not held up by a long statement."""
    with pytest.raises(TooLong):
        await reader.fetch(MANY, ())
    assert [row[0] for row in await reader.fetch("select 1", ())] == [1]


async def test_it_never_waits_for_a_lock(reader, path):
    """A program outside that holds the file exclusively sends the read to a thread, which waits."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    with pytest.raises(TooLong):
        await reader.fetch("select id from item", ())
    other.execute("rollback")
    other.close()


async def test_it_sees_what_was_committed_a_moment_ago(reader, path):
    """No snapshot stays open between two reads."""
    assert len(await reader.fetch("select id from item", ())) == 1
    with sqlite3.connect(path) as other:
        other.execute("insert into item values ('b')")
    other.close()
    assert len(await reader.fetch("select id from item", ())) == 2


async def test_other_errors_are_translated(reader):
    """A wrong statement is the caller's to see."""
    with pytest.raises(StoreError, match="no such table"):
        await reader.fetch("select 1 from nowhere", ())


async def test_a_write_is_refused(reader):
    """The connection only reads."""
    with pytest.raises(StoreError, match="readonly"):
        await reader.fetch("insert into item values ('c') returning id", ())


async def test_before_it_is_opened_and_after_it_is_closed_there_is_nothing_to_read(path):
    """And closing twice is fine."""
    reader = QuickReader(path, pragmas=())
    with pytest.raises(StoreUnavailable, match="not open"):
        await reader.fetch("select 1", ())
    reader.open()
    reader.close()
    reader.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await reader.fetch("select 1", ())


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path):
    """Opening reads the first page where a pragma needs it; the error is ours."""
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database at all" * 100)
    reader = QuickReader(path, pragmas=("journal_mode",))
    with pytest.raises(StoreError, match="not an SQLite database"):
        reader.open()
    reader.close()


async def test_reading_in_a_loop_lets_others_run(reader):
    """Whoever waits for a row by reading again and again does not keep its writer from writing."""
    written = asyncio.Event()
    asyncio.get_running_loop().call_soon(written.set)
    async with asyncio.timeout(60):
        while not written.is_set():
            await reader.fetch("select 1", ())
    assert written.is_set()
