"""Contract of a store's life (open, close, reopen), of many users at once, and of migrations."""

# ruff: noqa: PT012 - a transaction's whole block is what raises

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from micro.errors import MigrationError, StoreError, StoreUnavailable
from micro.store.migrate import Migration, migrate, status
from micro.testing.clock import FakeClock
from micro.testing.store_fixtures import StoreFixtures, add_item, items, need, works

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.store.ports import Store


class LifecycleContract(StoreFixtures):
    """What `Backend` and `micro.store.migrate` promise on a store."""

    async def test_what_was_committed_is_there_after_close_and_open(
        self, store: Store, make: Callable[[], Store]
    ) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")
        await store.close()
        again = make()
        await again.open()
        assert await items(again) == ["a"]
        await again.close()

    async def test_closing_twice_is_no_error(self, store: Store) -> None:
        await store.close()
        await store.close()

    async def test_closing_what_was_never_opened_is_no_error(self, make: Callable[[], Store]) -> None:
        await make().close()

    async def test_a_database_out_of_reach_is_unavailable_and_can_be_closed(self, unreachable: Store) -> None:
        with pytest.raises(StoreUnavailable):
            await unreachable.open()
        await unreachable.close()
        await unreachable.close()

    async def test_closing_leaves_no_task_and_no_thread(self, make: Callable[[], Store]) -> None:
        threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
        store = make()
        await store.open()
        await asyncio.gather(*(store.query("select 1 as one") for _ in range(20)))
        await store.close()
        for thread in set(threading.enumerate()) - threads:
            thread.join(60)
        assert set(threading.enumerate()) <= threads
        assert asyncio.all_tasks() <= tasks

    async def test_a_closed_store_is_unavailable(self, store: Store) -> None:
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.query("select 1 as one")
        with pytest.raises(StoreUnavailable):
            async with store.transaction() as tx:
                await add_item(tx, "a")

    async def test_closing_rolls_back_an_open_transaction_and_ends_calls_in_flight(
        self, store: Store, make: Callable[[], Store]
    ) -> None:
        with pytest.raises(StoreUnavailable):
            async with store.transaction() as tx:
                await add_item(tx, "a")
                reads = [asyncio.create_task(store.query("select 1 as one")) for _ in range(50)]
                async with asyncio.timeout(60):
                    await store.close()
                    outcomes = await asyncio.gather(*reads, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(error, StoreUnavailable) for error in errors), errors
        again = make()
        await again.open()
        assert await items(again) == []
        await again.close()

    async def test_a_second_user_of_the_database_is_turned_away(
        self, store: Store, make: Callable[[], Store]
    ) -> None:
        need(store, "shared_by_processes", promised=False)
        second = make()
        with pytest.raises(StoreUnavailable, match="in use"):
            await second.open()
        await second.close()
        await works(store)

    async def test_a_second_user_of_the_database_sees_what_the_first_committed(
        self, store: Store, make: Callable[[], Store]
    ) -> None:
        need(store, "shared_by_processes")
        second = make()
        await second.open()
        async with store.transaction() as tx:
            await add_item(tx, "a")
        assert await items(second) == ["a"]
        await second.close()

    async def test_many_readers_and_writers_at_once_all_come_through(self, store: Store) -> None:
        async def write(name: str) -> None:
            for number in range(10):
                async with store.transaction() as tx:
                    await add_item(tx, f"{name}{number}")

        async def read() -> None:
            known = 0
            while known < 80:
                [row] = await store.query("select count(*) as n from item")
                count = row["n"]
                assert isinstance(count, int)
                assert count >= known, "what was seen once stays"
                known = count

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for name in "abcdefgh":
                group.create_task(write(name))
                group.create_task(read())

    async def test_migrations_are_applied_once_and_in_order(self, store: Store) -> None:
        steps = [
            _step(1, "create table gadget (id text primary key)"),
            _step(2, "alter table gadget add column size text"),
        ]
        clock = FakeClock()
        assert await migrate(store, steps[:1], namespace="test", clock=clock) == steps[:1]
        assert [state.applied_at is None for state in await status(store, steps, namespace="test")] == [
            False,
            True,
        ]
        assert await migrate(store, steps, namespace="test", clock=clock) == steps[1:]
        assert await migrate(store, steps, namespace="test", clock=clock) == []
        assert await store.query("select id, size from gadget") == []
        assert {state.applied_at for state in await status(store, steps, namespace="test")} == {
            "2026-01-01T00:00:00.000Z"
        }

    async def test_migrations_started_twice_at_once_are_applied_once(self, store: Store) -> None:
        steps = [_step(number, f"create table gadget{number} (id text)") for number in range(1, 6)]
        runs = await asyncio.gather(
            *(migrate(store, steps, namespace="test", clock=FakeClock()) for _ in range(4))
        )
        assert sorted(step.number for applied in runs for step in applied) == [1, 2, 3, 4, 5]

    async def test_a_failing_migration_leaves_nothing_and_those_before_it_stay(self, store: Store) -> None:
        steps = [
            _step(1, "create table gadget (id text)"),
            _step(
                2,
                "create table widget (id text); insert into gadget values ('a'); insert into nowhere values (1)",
            ),
        ]
        with pytest.raises(MigrationError, match="0002_step") as caught:
            await migrate(store, steps, namespace="test", clock=FakeClock())
        assert isinstance(caught.value.__cause__, StoreError)
        assert await store.query("select * from gadget") == []
        with pytest.raises(StoreError):
            await store.query("select * from widget")
        pending = [state.applied_at is None for state in await status(store, steps, namespace="test")]
        assert pending == [False, True]

    async def test_an_edited_migration_is_refused(self, store: Store) -> None:
        await migrate(store, [_step(1, "create table gadget (id text)")], namespace="test", clock=FakeClock())
        edited = [_step(1, "create table gadget (id text, size text)")]
        with pytest.raises(MigrationError, match="edited"):
            await migrate(store, edited, namespace="test", clock=FakeClock())
        with pytest.raises(MigrationError, match="edited"):
            await status(store, edited, namespace="test")


def _step(number: int, sql: str) -> Migration:
    return Migration(number, "step", sql, hashlib.sha256(sql.encode()).hexdigest())
