"""Contract of what runs with the commit: the outbox stands on it."""

# ruff: noqa: PT012 - a transaction's whole block is what raises

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from micro.errors import StoreError
from micro.testing.store_fixtures import StoreFixtures, add_item, entries, items, works

if TYPE_CHECKING:
    from micro.store.ports import Store

_INSERT = "insert into entry (key, value) values (?, ?)"


class CommitContract(StoreFixtures):
    """What `Transaction.at_commit` promises."""

    async def test_statements_of_the_commit_and_the_state_are_stored_together(self, store: Store) -> None:
        async with store.transaction() as tx:
            tx.at_commit(_INSERT, "k", "first")
            await add_item(tx, "a")
            tx.at_commit(_INSERT, "k", "second")
            assert await tx.query("select * from entry") == [], "they run after everything else"
        assert await entries(store) == ["first", "second"]
        assert await items(store) == ["a"]

    async def test_statements_of_the_commit_are_gone_with_a_rollback(self, store: Store) -> None:
        with pytest.raises(RuntimeError):
            async with store.transaction() as tx:
                tx.at_commit(_INSERT, "k", "first")
                await add_item(tx, "a")
                raise RuntimeError
        assert await entries(store) == await items(store) == []

    async def test_a_failing_statement_of_the_commit_takes_the_state_with_it(self, store: Store) -> None:
        with pytest.raises(StoreError):
            async with store.transaction() as tx:
                await add_item(tx, "a")
                tx.at_commit(_INSERT, "k", "first")
                tx.at_commit(_INSERT, "k", None)
        assert await entries(store) == await items(store) == []
        await works(store)

    async def test_statements_of_the_commit_need_no_others(self, store: Store) -> None:
        async with store.transaction() as tx:
            tx.at_commit(_INSERT, "k", "only")
        assert await entries(store) == ["only"]

    async def test_a_malformed_statement_of_the_commit_is_refused_at_once(self, store: Store) -> None:
        with pytest.raises(StoreError):
            async with store.transaction() as tx:
                tx.at_commit(_INSERT, "one parameter too few")
        await works(store)

    async def test_the_order_of_one_key_s_rows_is_the_order_of_the_commits(self, store: Store) -> None:
        """Whoever reads while many write never finds a row below one that was seen before."""

        async def write(name: str) -> None:
            for number in range(10):
                async with store.transaction() as tx:
                    await add_item(tx, f"{name}{number}")
                    tx.at_commit(_INSERT, "k", f"{name}{number}", ordered_by="k")

        writers = [asyncio.create_task(write(name)) for name in "abcdefgh"]
        seen: list[object] = []
        async with asyncio.timeout(60):
            while len(seen) < 80:
                now = await entries(store)
                assert now[: len(seen)] == seen
                seen = now
        await asyncio.gather(*writers)
        for name in "abcdefgh":
            assert [value for value in seen if str(value)[0] == name] == [f"{name}{n}" for n in range(10)]

    async def test_transactions_with_several_ordered_keys_do_not_block_each_other_for_good(
        self, store: Store
    ) -> None:
        async def write(keys: str) -> None:
            for _ in range(10):
                async with store.transaction() as tx:
                    for key in keys:
                        tx.at_commit(_INSERT, key, key, ordered_by=key)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for keys in ("abc", "cba", "bca", "acb"):
                group.create_task(write(keys))
        assert len(await entries(store)) == 120
