"""Points on an event's way, where a test may step in."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from micro.bus.memory import MemoryBus
from micro.bus.message import Message, Partition
from micro.store.sqlite import SqliteStore
from micro.testing import FakeClock
from micro.testing.faults import FaultyBus, FaultyJournal, FaultyStore, crash_at, fail_at


@pytest.fixture
async def store(tmp_path):
    inner = SqliteStore(f"sqlite:{tmp_path / 'x.db'}", clock=FakeClock())
    points = []
    store = FaultyStore(inner, points.append)
    store.points = points
    await store.open()
    async with store.transaction() as tx:
        await tx.script(
            "create table own (n integer); create table micro_outbox (seq integer);"
            "create table micro_inbox (n integer); create table micro_parked (seq integer)"
        )
    points.clear()
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("statements", "points"),
    [
        (["insert into own values (1)"], ["before_commit", "after_commit"]),
        ([], ["before_commit", "after_commit"]),
        (["delete from micro_outbox"], ["before_mark", "after_mark"]),
        (
            ["insert into micro_inbox values (1)", "insert into own values (1)"],
            ["after_handler", "after_inbox_commit"],
        ),
        (
            ["delete from micro_inbox", "insert into micro_inbox values (1)"],
            ["after_handler", "after_inbox_commit"],
        ),
        (["delete from micro_parked"], ["after_handler", "after_inbox_commit"]),
        (["delete from micro_inbox"], []),
        (["insert into own values (1)", "update micro_parked set seq = 1"], []),
    ],
)
async def test_a_transactions_points_follow_from_its_statements(store, statements, points):
    async with store.transaction() as tx:
        for sql in statements:
            await tx.execute(sql)
    assert store.points == points


async def test_an_error_before_the_commit_rolls_back_and_after_it_does_not(store):
    for point, rows in (("before_commit", 0), ("after_commit", 1)):
        store._at = fail_at(point, ValueError("injected"))
        with pytest.raises(ValueError, match="injected"):
            async with store.transaction() as tx:
                assert await tx.query("select 1 from own") == []
                tx.at_commit("insert into own values (1)", ordered_by="k")
        assert len(await store.query("select 1 from own")) == rows
    assert (store.features, store.dialect) == (SqliteStore.features, "sqlite")


async def test_a_bus_calls_its_points_in_order():
    points = []
    bus = FaultyBus(MemoryBus(clock=FakeClock()), points.append)
    await bus.open()
    [record] = await bus.publish([Message("t", "k", b"1")])
    member = await bus.subscribe("g", ["t"])
    await member.fetch(limit=1, wait=0)
    assert await member.fetch(limit=1, wait=0) == []
    await member.commit({record.partition: 1})
    assert points == [
        "before_send",
        "after_send",
        "after_acknowledge",
        "after_fetch",
        "before_position",
        "after_position",
    ]
    assert record.partition in member.assigned()
    assert await bus.topics() == {"t": 12}
    assert await bus.bounds(record.partition) == (0, 1)
    assert await bus.read(record.partition, 0, limit=9) == [record]
    assert await bus.positions() == {"g": {record.partition: 1}}
    assert bus.features == MemoryBus.features
    await member.close()
    await bus.close()


async def test_a_journal_calls_its_points_and_passes_the_rest_on():
    calls = []

    class Inner:
        async def append(self, records):
            calls.append(("append", records))

        async def read(self, partition, offset, limit, *, since):
            calls.append(("read", partition, offset, limit, since))

        async def commit(self, group, positions):
            calls.append(("commit", group, positions))

        async def load(self, *, keep_since):
            calls.append(("load", keep_since))

    journal = FaultyJournal(Inner(), calls.append)
    await journal.append([])
    await journal.read(Partition("t", 1), 2, 3, since=4.0)
    await journal.commit("g", {})
    await journal.load(keep_since=5.0)
    assert calls == [
        "before_append",
        ("append", []),
        "after_append",
        ("read", Partition("t", 1), 2, 3, 4.0),
        ("commit", "g", {}),
        ("load", 5.0),
    ]


def test_a_failure_is_raised_as_often_as_said():
    at = fail_at("here", ValueError("injected"), times=2)
    at("elsewhere")
    for _ in range(2):
        with pytest.raises(ValueError, match="injected"):
            at("here")
    at("here")


@pytest.mark.crash
def test_a_crash_is_a_sigkill_at_the_visit_asked_for():
    code = (
        "from micro.testing.faults import crash_at\n"
        "at = crash_at('here', visit=2)\n"
        "for point in ['here', 'elsewhere', 'here']: print(point, flush=True); at(point)\n"
        "print('alive', flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["here", "elsewhere", "here"]
    crash_at("never")("here")
