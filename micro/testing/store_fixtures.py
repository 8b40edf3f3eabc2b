"""What the parts of the store's contract suite share: an open store with two tables, deadlines, small readings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from micro.store.ports import Dialect, Store, Transaction

TABLES: dict[Dialect, str] = {
    "sqlite": """
        create table item (
            id text primary key not null, name text unique, n integer not null default 0 check (n >= 0),
            weight real, data blob, parent text references item (id)) strict;
        create table entry (
            position integer primary key autoincrement, key text not null, value text not null) strict;
    """,
    "postgresql": """
        create table item (
            id text primary key, name text unique, n bigint not null default 0 check (n >= 0),
            weight double precision, data bytea, parent text references item (id));
        create table entry (
            position bigint generated always as identity primary key, key text not null, value text not null);
    """,
}


class StoreFixtures:
    """What the tests are given. A backend's test class provides `make` and `unreachable`."""

    @pytest.fixture
    def make(self) -> Callable[[], Store]:
        """Constructs a store on this test's own database, empty at first; called again, on the same one."""
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    def unreachable(self) -> Store:
        """A store that was constructed on something that can't be opened."""
        raise NotImplementedError("give a fixture named unreachable")

    @pytest.fixture
    async def store(self, make: Callable[[], Store]) -> AsyncIterator[Store]:
        """An open store with the tables `item` and `entry`."""
        store = make()
        await store.open()
        async with store.transaction() as tx:
            await tx.script(TABLES[store.dialect])
        yield store
        await store.close()


async def items(store: Store) -> list[object]:
    """The ids in the table `item`, sorted."""
    return [row["id"] for row in await store.query("select id from item order by id")]


async def entries(store: Store) -> list[object]:
    """The values in the table `entry`, in the order of their positions."""
    return [row["value"] for row in await store.query("select value from entry order by position")]


async def works(store: Store) -> None:
    """A whole transaction goes through, soon: nothing was left behind that holds it up."""
    async with asyncio.timeout(60):
        async with store.transaction() as tx:
            await tx.execute("insert into item (id) values ('probe')")
            assert await tx.execute("delete from item where id = 'probe'") == 1


async def add_item(tx: Transaction, id: str, *, name: str | None = None) -> None:
    """Insert a row into `item`."""
    await tx.execute("insert into item (id, name) values (?, ?)", id, name)


def need(store: Store, feature: str, *, promised: bool = True) -> None:
    """Skip the test, by name, unless the backend promises `feature` (or doesn't, for `promised=False`)."""
    if getattr(store.features, feature) is not promised:
        pytest.skip(f"{'not ' if promised else ''}promised: {feature}")
