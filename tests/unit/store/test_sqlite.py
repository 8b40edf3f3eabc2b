"""What is particular to SQLite: crossings, the queue of writers, cancellation, what is refused and what is said."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from micro.clock import SystemClock
from micro.errors import ConfigurationError, StoreError, StoreUnavailable, TransactionTimeout
from micro.store.sqlite import SqliteStore
from micro.store.sqlite_statements import fetch
from micro.testing import FakeClock

ENDLESS = "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) as n from c"
LONG = (
    "with recursive c(n) as (select 1 union all select n + 1 from c limit 100000) select count(*) as n from c"
)


class Counted:
    """The queue to a connection's thread, counting what goes in."""

    def __init__(self, queue):
        self._queue = queue
        self.crossings = 0

    def put_nowait(self, item):
        self.crossings += 1
        self._queue.put_nowait(item)


@pytest.fixture
def counted(store):
    """The queues of the writer and of the readers."""
    connections = [store._file._writer, *store._file._readers]
    for connection in connections:
        connection._tx = Counted(connection._tx)
    return [connection._tx for connection in connections]


async def ids(store):
    return [row["id"] for row in await store.query("select id from item order by id")]


async def insert(store, id, **options):
    async with store.transaction(**options) as tx:
        await tx.execute("insert into item (id) values (?)", id)


async def is_clean(store):
    """No transaction is open on the writer, and the next one goes through."""
    assert not await store._file.write(lambda connection: connection.in_transaction)
    async with asyncio.timeout(60), store.transaction() as tx:
        await tx.execute("update item set n = n")


class TestCrossings:
    async def test_one_statement_and_the_commit_cross_twice(self, store, counted):
        async with store.transaction() as tx:
            await tx.execute("insert into item (id) values ('a')")
            tx.at_commit("insert into item (id) values ('b')")
            tx.at_commit("insert into item (id) values ('c')")
        assert [queue.crossings for queue in counted] == [2, 0, 0]
        assert await ids(store) == ["a", "b", "c"]

    async def test_every_further_statement_crosses_once_more(self, store, counted):
        async with store.transaction() as tx:
            for id in "abc":
                await tx.query("insert into item (id) values (?) returning id", id)
        assert counted[0].crossings == 4

    async def test_a_script_crosses_once_whatever_its_length(self, store, counted):
        async with store.transaction() as tx:
            await tx.script("insert into item (id) values ('a'); insert into item (id) values ('b')")
        assert counted[0].crossings == 2

    async def test_statements_of_the_commit_alone_cross_once(self, store, counted):
        async with store.transaction() as tx:
            tx.at_commit("insert into item (id) values ('a')")
        assert counted[0].crossings == 1

    async def test_an_empty_transaction_does_not_cross(self, store, counted):
        async with store.transaction():
            pass
        assert counted[0].crossings == 0

    async def test_a_short_read_does_not_cross_at_all(self, store, counted):
        [[one]] = await store.query("select 1 as one")
        assert one == 1
        assert [queue.crossings for queue in counted] == [0, 0, 0]

    async def test_a_read_that_takes_many_steps_crosses_once(self, store, counted):
        [[count]] = await store.query(LONG)
        assert count == 100_000
        assert [queue.crossings for queue in counted] == [0, 1, 0]

    async def test_reads_of_one_turn_of_the_loop_cross_together(self, store, counted):
        rows = await asyncio.gather(*(store._file.read(fetch, "select ? as n", (n,)) for n in range(32)))
        assert [row["n"] for [row] in rows] == list(range(32))
        assert [queue.crossings for queue in counted] == [0, 1, 0]

    async def test_a_rollback_crosses_once_and_nobody_waits_for_it(self, store, counted):
        with pytest.raises(RuntimeError):
            async with store.transaction() as tx:
                await tx.execute("insert into item (id) values ('a')")
                raise RuntimeError
        assert counted[0].crossings == 1
        await is_clean(store)
        assert counted[0].crossings == 4, "it crossed together with the first of the check's three"


class TestQueue:
    async def test_writers_take_turns_in_the_order_in_which_they_came(self, store):
        order = []

        async def write(name):
            async with store.transaction() as tx:
                order.append(name)
                await tx.execute("insert into item (id) values (?)", name)

        async with asyncio.TaskGroup() as group:
            for name in "abcdefgh":
                group.create_task(write(name))
        assert order == list("abcdefgh")

    async def test_reads_do_not_wait_for_a_writer(self, store):
        async with asyncio.timeout(60), store.transaction() as tx:
            await tx.execute("insert into item (id) values ('a')")
            assert await ids(store) == []

    async def test_a_transaction_inside_one_of_the_same_task_is_refused(self, store):
        with pytest.raises(StoreError, match="inside a transaction"):
            async with store.transaction() as tx:
                await tx.execute("insert into item (id) values ('a')")
                await insert(store, "b")
        assert await ids(store) == []
        await insert(store, "c")

    async def test_a_time_out_in_the_queue_does_not_hold_up_those_behind(self, store):
        async with store.transaction() as tx:
            impatient = asyncio.create_task(insert(store, "impatient", timeout=0.05))
            patient = asyncio.create_task(insert(store, "patient"))
            with pytest.raises(TransactionTimeout, match=r"it\.db: rolled back after 0\.05 s"):
                await impatient
            await tx.execute("insert into item (id) values ('holder')")
        await patient
        assert await ids(store) == ["holder", "patient"]
        assert not store._queue.locked()

    async def test_cancelling_any_of_the_queue_leaves_the_others_their_turn(self, store):
        async with store.transaction():
            waiting = [asyncio.create_task(insert(store, f"{number}")) for number in range(10)]
            await FakeClock().advance(0)
            for task in waiting[::2]:
                task.cancel()
        await asyncio.wait(waiting)
        assert await ids(store) == ["1", "3", "5", "7", "9"]
        await is_clean(store)


async def cut_off(work, gate):
    """Cancel `work` when it has come to the gate, and open that only then."""
    task = asyncio.create_task(work)
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()


class TestCancellation:
    async def test_a_statement_that_has_not_begun_is_never_run(self, store, gate):
        store._file.write_later(gate.wait)
        await cut_off(insert(store, "a"), gate)
        await is_clean(store)
        assert await ids(store) == []

    async def test_a_running_statement_is_rolled_back(self, store, gate):
        await store._file.write(lambda connection: connection.create_function("pause", 0, gate.wait))
        await cut_off(self.run(store, "insert into item (id) select 'a' || pause()"), gate)
        await is_clean(store)
        assert await ids(store) == []

    async def test_a_running_statement_without_end_is_stopped(self, store):
        task = asyncio.create_task(self.run(store, ENDLESS))
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await is_clean(store)

    async def test_a_commit_that_has_not_begun_is_rolled_back(self, store, gate):
        async def write():
            async with store.transaction() as tx:
                await tx.execute("insert into item (id) values ('a')")
                store._file.write_later(gate.wait)

        await cut_off(write(), gate)
        await is_clean(store)
        assert await ids(store) == []

    async def test_a_commit_that_has_begun_is_carried_out_as_a_whole(self, store, gate):
        await store._file.write(lambda connection: connection.create_function("pause", 0, gate.wait))

        async def write():
            async with store.transaction() as tx:
                await tx.execute("insert into item (id) values ('a')")
                tx.at_commit("insert into item (id) select 'b' || pause()")

        await cut_off(write(), gate)
        await is_clean(store)
        assert await ids(store) == ["a", "b0"]

    async def test_a_commit_that_has_begun_is_never_called_a_timeout(self, store, gate):
        await store._file.write(lambda connection: connection.create_function("pause", 0, gate.wait))

        async def write():
            async with store.transaction(timeout=1.0) as tx:
                await tx.execute("insert into item (id) values ('a')")
                tx.at_commit("insert into item (id) select 'b' || pause()")

        task = asyncio.create_task(write())
        await gate.reached()
        await asyncio.wait([task], timeout=1.2)
        gate.open()
        await task
        assert await ids(store) == ["a", "b0"]

    async def test_a_cancelled_read_is_stopped_and_its_reader_goes_on(self, store):
        tasks = [asyncio.create_task(store.query(ENDLESS)) for _ in range(4)]
        await asyncio.wait(tasks, timeout=0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.run(lambda _: None) for reader in store._file._readers))

    async def test_cancelled_at_every_turn_of_the_loop_it_leaves_a_clean_connection(self, store):
        async def write(id):
            async with store.transaction() as tx:
                await tx.query("select 1 as one")
                await tx.execute("insert into item (id) values (?)", id)
                tx.at_commit("update item set n = 1 where id = ?", id)

        for turns in range(80):
            task = asyncio.create_task(write(f"{turns}"))
            for _ in range(turns):
                await SystemClock().sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await is_clean(store)
        assert await store.query("select * from item where n = 0") == []

    @staticmethod
    async def run(store, sql):
        async with store.transaction() as tx:
            await tx.query(sql)


class TestReaders:
    async def test_a_slow_read_does_not_hold_up_the_others(self, store):
        slow = asyncio.create_task(store.query(ENDLESS))
        await asyncio.wait([slow], timeout=0.05)
        async with asyncio.timeout(60):
            for _ in range(5):
                assert [row["n"] for row in await store.query("select 7 as n")] == [7]
        assert not slow.done()
        slow.cancel()
        await asyncio.wait([slow])

    async def test_where_all_readers_are_slow_the_least_busy_one_is_asked(self, store, gate):
        reads = [asyncio.create_task(reader.run(gate.wait)) for reader in store._file._readers]
        await gate.reached()
        await asyncio.wait(reads, timeout=0.05)
        late = [asyncio.create_task(store._file.read(fetch, "select 7 as n", ())) for _ in range(4)]
        await FakeClock().advance(0)
        assert [reader.pending for reader in store._file._readers] == [3, 3]
        gate.open()
        assert [row["n"] for [row] in await asyncio.gather(*late)] == [7] * 4
        await asyncio.gather(*reads)

    async def test_what_is_quick_is_answered_before_what_is_slow_in_the_same_batch(self, store, gate):
        [reader, _] = store._file._readers
        answers = [
            asyncio.create_task(reader.run(function))
            for function in (lambda _: "quick", lambda _: sum(range(1_000_000)), gate.wait)
        ]
        async with asyncio.timeout(60):
            assert await asyncio.gather(*answers[:2]) == ["quick", 499_999_500_000]
        assert not answers[2].done()
        gate.open()
        await answers[2]

    async def test_a_read_has_a_time_limit(self, path, store, monkeypatch):
        await store.close()
        monkeypatch.setattr("micro.store.sqlite_file.READ_SECONDS", 0.05)
        store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        await store.open()
        with pytest.raises(StoreUnavailable, match="took too long"):
            await store.query(ENDLESS)
        assert await ids(store) == []
        await store.close()

    @pytest.mark.parametrize(
        "sql",
        [
            "insert into item (id) values ('a')",
            "with new(id) as (values ('a')) insert into item (id) select id from new",
            "pragma query_only = off",
        ],
    )
    async def test_a_query_that_writes_is_refused_with_what_to_do(self, store, sql):
        with pytest.raises(StoreError, match=r"write in a transaction|store's business") as caught:
            await store.query(sql)
        assert type(caught.value) is StoreError, "the file itself is fine"
        assert await ids(store) == []


class TestTrouble:
    async def test_closing_stops_a_statement_without_end(self, store):
        reads = [asyncio.create_task(store.query(ENDLESS)) for _ in range(3)]
        await asyncio.wait(reads, timeout=0.05)
        async with asyncio.timeout(60):
            await store.close()
            outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3

    async def test_a_program_that_holds_the_file_is_waited_for_and_then_named(self, path, monkeypatch):
        monkeypatch.setattr("micro.store.sqlite_connection._BUSY_SECONDS", 0.05)
        store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        await store.open()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match="another program holds the database"):
            async with store.transaction() as tx:
                await tx.execute("create table x (id text)")
        other.execute("rollback")
        other.close()
        async with store.transaction() as tx:
            await tx.execute("create table x (id text)")
        await store.close()

    async def test_a_full_disk_is_unavailable_and_nothing_is_half_done(self, store):
        await store._file.write(lambda connection: connection.execute("pragma max_page_count = 30"))
        with pytest.raises(StoreUnavailable, match="no space left"):
            async with store.transaction() as tx:
                await tx.execute("insert into item (id) values ('small')")
                await tx.execute("insert into item (id) values (?)", "x" * 1_000_000)
        assert await ids(store) == []
        await insert(store, "small")
        assert await ids(store) == ["small"]

    async def test_a_file_that_is_no_database_is_named_and_can_be_closed(self, path):
        path.parent.mkdir()
        path.write_bytes(b"This is not a database. " * 400)
        store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        with pytest.raises(StoreError, match=r"it\.db: the file is not an SQLite database"):
            await store.open()
        await store.close()

    async def test_a_damaged_file_is_told_as_such(self, store, path):
        async with store.transaction() as tx:
            for number in range(200):
                await tx.execute("insert into item (id) values (?)", f"{number:0200d}")
        await store.close()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(4096 * 3))
        store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        await store.open()
        with pytest.raises(StoreError, match="damaged"):
            await store.query("select count(*) as n from item where id like '%7%'")
        await store.close()

    async def test_a_folder_in_place_of_the_file_is_unavailable(self, path):
        path.mkdir(parents=True)
        store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        with pytest.raises(StoreUnavailable, match="can't be opened"):
            await store.open()
        await store.close()

    async def test_a_file_system_without_write_ahead_logs_is_unavailable(self, path, monkeypatch):
        store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        connect = sqlite3.connect
        monkeypatch.setattr("sqlite3.connect", lambda _, **options: connect(":memory:", **options))
        with pytest.raises(StoreUnavailable, match="use a local disk"):
            await store.open()
        await store.close()

    async def test_cancelling_open_lets_go_of_the_file(self, path):
        for turns in range(12):
            store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
            task = asyncio.create_task(store.open())
            for _ in range(turns):
                await SystemClock().sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await store.close()

    async def test_operators_written_with_a_question_mark_are_refused(self, store):
        with pytest.raises(StoreError, match="operator of PostgreSQL"):
            await store.query("select 'a' ?? 'b'")


class TestFile:
    @pytest.mark.parametrize("url", ["sqlite:", "sqlite::memory:", "mysql:x", "it.db"])
    def test_a_url_without_a_file_is_refused_at_once(self, url):
        with pytest.raises(ConfigurationError, match="write sqlite:PATH"):
            SqliteStore(url, clock=SystemClock())

    async def test_a_relative_path_is_taken_from_the_current_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        store = SqliteStore("sqlite:sub/it.db", clock=SystemClock())
        await store.open()
        await store.close()
        assert (tmp_path / "sub" / "it.db").exists()

    @pytest.mark.parametrize(
        "name", ["with space.db", "what?mode=ro.db", "file:odd.db", "ünï 🔑.db", "100%25.db"]
    )
    async def test_any_file_name_will_do(self, tmp_path, name):
        store = SqliteStore(f"sqlite:{tmp_path}/{name}", clock=SystemClock())
        await store.open()
        async with store.transaction() as tx:
            await tx.execute("create table t (id text)")
        await store.close()
        assert Path(tmp_path, name).stat().st_size > 0

    async def test_folder_and_files_are_for_the_owner_only(self, store, path):
        await insert(store, "a")
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {
            "it.db": "0o600",
            "it.db-wal": "0o600",
            "it.db-shm": "0o600",
            "it.db.lock": "0o600",
        }

    async def test_closing_writes_everything_back_into_the_one_file(self, store, path):
        await insert(store, "a")
        await store.close()
        assert sorted(file.name for file in path.parent.iterdir()) == ["it.db", "it.db.lock"]

    async def test_it_runs_as_the_design_says(self, store):
        def settings(connection):
            names = ("journal_mode", "synchronous", "foreign_keys", "query_only")
            return [connection.execute(f"pragma {name}").fetchone()[0] for name in names]

        assert await store._file.write(settings) == ["wal", 1, 1, 0]
        for reader in store._file._readers:
            assert (await reader.run(settings))[3] == 1

    async def test_a_trigger_in_a_script_is_one_statement(self, store):
        async with store.transaction() as tx:
            await tx.script(
                """create trigger mark after insert on item begin
                       update item set n = 1 where id = new.id;
                       update item set n = n + 1 where id = new.id;
                   end;
                   insert into item (id) values ('a')"""
            )
        assert [row["n"] for row in await store.query("select n from item")] == [2]


CRASHING = """
import asyncio, sys
from micro.clock import SystemClock
from micro.store.sqlite import SqliteStore
from micro.store.sqlite_statements import fetch

async def main():
    store = SqliteStore(f"sqlite:{sys.argv[1]}", clock=SystemClock())
    await store.open()
    async with store.transaction() as tx:
        await tx.execute("insert into item (id) values ('committed')")
    async with store.transaction() as tx:
        await tx.execute("insert into item (id) values ('open')")
        if sys.argv[2] == "wait":
            print("ready", flush=True)
            await asyncio.Event().wait()
        raise SystemExit(3)

asyncio.run(main())
"""


class TestProcesses:
    @pytest.mark.crash
    async def test_after_kill_9_what_was_committed_is_there_and_nothing_else(self, store, path):
        await store.close()
        with subprocess.Popen(
            [sys.executable, "-c", CRASHING, str(path), "wait"], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout.readline() == b"ready\n"
            store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
            with pytest.raises(StoreUnavailable, match=f"in use by process {child.pid}"):
                await store.open()
            await store.close()
            child.kill()
            child.wait(60)
        await store.open()
        assert await ids(store) == ["committed"]
        await is_clean(store)
        await store.close()

    async def test_a_process_that_ends_without_closing_does_not_hang(self, store, path):
        await store.close()
        done = subprocess.run([sys.executable, "-c", CRASHING, str(path), "end"], timeout=60, check=False)
        assert done.returncode == 3
