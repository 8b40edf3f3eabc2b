"""Contract of transactions: all or nothing, apart from each other, limited in time, clean after a cancellation."""

# ruff: noqa: PT012 - a transaction's whole block is what raises

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from micro.errors import StoreError, TransactionTimeout, UniqueViolation
from micro.testing.store_fixtures import StoreFixtures, add_item, entries, items, need, works

if TYPE_CHECKING:
    from micro.store.ports import Store


class TransactionContract(StoreFixtures):
    """What `Store.transaction` promises."""

    async def test_a_clean_exit_commits(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")
            await add_item(tx, "b")
        assert await items(store) == ["a", "b"]

    async def test_an_exception_rolls_everything_back_and_comes_out_unchanged(self, store: Store) -> None:
        boom = RuntimeError("boom")
        with pytest.raises(RuntimeError) as caught:
            async with store.transaction() as tx:
                await add_item(tx, "a")
                raise boom
        assert caught.value is boom
        assert await items(store) == []
        await works(store)

    async def test_a_time_out_of_the_block_s_own_comes_out_unchanged(self, store: Store) -> None:
        with pytest.raises(TimeoutError) as caught:
            async with store.transaction() as tx:
                await add_item(tx, "a")
                raise TimeoutError("mine")
        assert not isinstance(caught.value, TransactionTimeout)
        assert await items(store) == []

    async def test_an_empty_transaction_is_no_error(self, store: Store) -> None:
        async with store.transaction():
            pass
        await works(store)

    async def test_a_transaction_sees_its_own_writes_and_nobody_else_does(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")
            assert [row["id"] for row in await tx.query("select id from item")] == ["a"]
            assert await items(store) == []
        assert await items(store) == ["a"]

    async def test_after_a_failed_statement_every_other_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match="roll"):
            async with store.transaction() as tx:
                await add_item(tx, "a")
                with pytest.raises(UniqueViolation):
                    await add_item(tx, "a")
                await add_item(tx, "b")
        assert await items(store) == []

    async def test_a_failed_statement_can_not_be_swallowed(self, store: Store) -> None:
        """A clean exit after a failure raises: it must not look like a commit."""
        with pytest.raises(StoreError):
            async with store.transaction() as tx:
                await add_item(tx, "a")
                with pytest.raises(UniqueViolation):
                    await add_item(tx, "a")
        assert await items(store) == []
        await works(store)

    async def test_a_transaction_that_is_over_takes_no_statement(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")
        with pytest.raises(StoreError):
            await add_item(tx, "b")
        with pytest.raises(StoreError):
            tx.at_commit("insert into item (id) values ('c')")
        assert await items(store) == ["a"]

    async def test_two_statements_of_one_transaction_at_once_are_refused(self, store: Store) -> None:
        with pytest.raises(StoreError):
            async with store.transaction() as tx:
                await asyncio.gather(add_item(tx, "a"), add_item(tx, "b"))
        await works(store)

    async def test_concurrent_increments_are_all_counted(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")

        async def increment() -> None:
            for _ in range(5):
                async with store.transaction() as tx:
                    await tx.execute("update item set n = n + 1 where id = ?", "a")

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(increment())
        assert [row["n"] for row in await store.query("select n from item")] == [50]

    async def test_of_two_conditional_updates_of_one_version_one_wins(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")

        async def change() -> int:
            async with store.transaction() as tx:
                return await tx.execute("update item set n = 1 where id = 'a' and n = 0")

        assert sorted(await asyncio.gather(*(change() for _ in range(8)))) == [0] * 7 + [1]

    async def test_two_writers_of_different_rows_do_not_wait_for_each_other(self, store: Store) -> None:
        need(store, "concurrent_writers")
        async with asyncio.timeout(60), store.transaction() as one, store.transaction() as other:
            await add_item(one, "a")
            await add_item(other, "b")
        assert await items(store) == ["a", "b"]

    async def test_exclusive_transactions_run_one_at_a_time(self, store: Store) -> None:
        inside = most = 0

        async def enter(id: str) -> None:
            nonlocal inside, most
            async with store.transaction(exclusive=True) as tx:
                inside += 1
                most = max(most, inside)
                await add_item(tx, id)
                inside -= 1

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(enter(f"{number:02d}"))
        assert most == 1
        assert len(await items(store)) == 12

    async def test_a_transaction_that_outlives_its_limit_is_rolled_back(self, store: Store) -> None:
        with pytest.raises(TransactionTimeout):
            async with store.transaction(timeout=0.1) as tx:
                await add_item(tx, "a")
                await asyncio.Event().wait()
        assert await items(store) == []
        await works(store)

    async def test_swallowing_the_limit_s_cancellation_does_not_commit(self, store: Store) -> None:
        with pytest.raises(TransactionTimeout):
            async with store.transaction(timeout=0.1) as tx:
                await add_item(tx, "a")
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.Event().wait()
        assert await items(store) == []
        await works(store)

    async def test_the_limit_holds_while_another_writer_is_in_the_way(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")

        async def change(timeout: float) -> None:
            async with store.transaction(timeout=timeout) as tx:
                await tx.execute("update item set n = n + 1 where id = 'a'")

        async with store.transaction() as holder:
            await holder.execute("update item set n = n + 1 where id = 'a'")
            with pytest.raises(TransactionTimeout):
                await asyncio.create_task(change(0.1))
        await change(10)
        assert [row["n"] for row in await store.query("select n from item")] == [2]

    async def test_a_transaction_cancelled_while_it_waits_for_another_leaves_nothing(
        self, store: Store
    ) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a")

        async def change() -> None:
            async with store.transaction() as tx:
                await tx.execute("update item set n = n + 1 where id = 'a'")

        async with store.transaction() as holder:
            await holder.execute("update item set n = 10 where id = 'a'")
            waiting = asyncio.create_task(change())
            await asyncio.wait([waiting], timeout=0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert [row["n"] for row in await store.query("select n from item")] == [10]
        await works(store)

    async def test_cancelled_at_any_moment_it_is_done_wholly_or_not_at_all(self, store: Store) -> None:
        loop = asyncio.get_running_loop()

        async def write(id: str) -> None:
            async with store.transaction() as tx:
                await add_item(tx, id)
                await tx.execute("update item set n = 1 where id = ?", id)
                tx.at_commit("insert into entry (key, value) values ('k', ?)", id)

        begin = loop.time()
        await write("whole")
        span = loop.time() - begin
        for moment in range(60):
            task = asyncio.create_task(write(f"{moment:02d}"))
            await asyncio.wait([task], timeout=span * moment / 40)
            task.cancel()
            await asyncio.wait([task])
            await works(store)
        done = [str(row["id"]) for row in await store.query("select id from item where n = 1 order by id")]
        assert done == await items(store)
        assert sorted(map(str, await entries(store))) == done
