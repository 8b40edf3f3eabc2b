"""PostgreSQL keeps the store's contract."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from micro.clock import SystemClock
from micro.errors import StoreError, StoreUnavailable, TransactionTimeout
from micro.infra.server import free_ports
from micro.store import postgres_pool
from micro.store.postgres import PostgresStore
from micro.testing import StoreContract

pytestmark = pytest.mark.live
LIMIT = 30.0
"""Seconds after which a test stops waiting; what doesn't give up by itself waits for a minute."""


class TestPostgres(StoreContract):
    @pytest.fixture
    async def make(self, postgres_url):
        store = PostgresStore(postgres_url, clock=SystemClock())
        await store.provision()
        return lambda: PostgresStore(postgres_url, clock=SystemClock())

    @pytest.fixture
    def unreachable(self):
        [port] = free_ports(1)
        return PostgresStore(f"postgresql://micro@127.0.0.1:{port}/nothing", clock=SystemClock())


async def test_a_server_that_takes_no_writes_is_out_of_reach_for_who_writes_alone(postgres_url):
    """As one that another has taken over from: no event is to blame. What only reads must not write at any time."""
    store = PostgresStore(postgres_url, clock=SystemClock())
    await store.provision()
    await store.open()
    try:
        async with store.transaction() as tx:
            await tx.script(
                "create table t (n integer);"
                "create function write() returns integer language sql as 'insert into t values (1) returning n'"
            )
        with pytest.raises(StoreUnavailable, match="takes no writes now"):
            async with store.transaction() as tx:
                await tx.execute("set local transaction_read_only = on")
                await tx.execute("insert into t values (1)")
        with pytest.raises(StoreError, match="only reads") as caught:
            await store.query("select write()")
        assert not isinstance(caught.value, StoreUnavailable)
    finally:
        await store.close()


@pytest.fixture
async def standing(postgres_url, freeze, monkeypatch):
    """A store, and what has the server's processes for its connections stand still: no word comes, nothing is closed."""
    monkeypatch.setattr(postgres_pool, "GOODBYE", 0.2)
    store = PostgresStore(f"{postgres_url}&pool=1", clock=SystemClock())
    await store.provision()
    await store.open()
    async with store.transaction() as tx:
        [[writer]] = await tx.query("select pg_backend_pid()")
    [[reader]] = await store.query("select pg_backend_pid()")

    async def stop():
        for pid in writer, reader:
            await freeze(pid)

    yield store, stop
    for pid in writer, reader:
        os.kill(pid, signal.SIGCONT)
    await store.close()


async def test_a_transaction_is_over_when_its_time_is_though_the_server_says_nothing(standing):
    store, stop = standing
    async with asyncio.timeout(LIMIT):
        with pytest.raises(TransactionTimeout):
            async with store.transaction(timeout=0.5) as tx:
                await tx.execute("select 1")
                await stop()
                await tx.execute("select 2")
        async with store.transaction() as tx:  # on another connection
            assert [row[0] for row in await tx.query("select 3")] == [3]


async def test_nor_does_a_server_that_says_nothing_hold_up_one_that_has_not_begun(standing):
    store, stop = standing
    await stop()
    async with asyncio.timeout(LIMIT):
        with pytest.raises(TransactionTimeout):
            async with store.transaction(timeout=0.2) as tx:
                await tx.execute("select 1")


async def test_a_store_closes_though_the_server_says_nothing(standing):
    store, stop = standing
    await stop()
    async with asyncio.timeout(LIMIT):
        await store.close()
