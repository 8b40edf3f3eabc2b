"""What the tests of every built-in service share."""

from __future__ import annotations

import pytest


@pytest.fixture
def ana(harness):
    """Somebody."""
    return harness.as_user("ana")


@pytest.fixture
def ben(harness):
    """Somebody else."""
    return harness.as_user("ben")


@pytest.fixture
def root(harness):
    """An admin."""
    return harness.as_user("root", role="admin")


@pytest.fixture
def plan(harness):
    """How the database carries out a statement; by an index wherever there is one that fits, however small the table."""
    store = harness.micro.store

    async def plan(sql, *parameters):
        if store.dialect == "sqlite":
            return [row["detail"] for row in await store.query(f"explain query plan {sql}", *parameters)]
        async with store.transaction() as tx:
            await tx.execute("set local enable_seqscan = off")
            return [row[0] for row in await tx.query(f"explain {sql}", *parameters)]

    return plan
