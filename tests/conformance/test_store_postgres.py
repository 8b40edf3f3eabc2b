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


async def test_a_statement_may_take_as_long_as_its_transaction_and_elsewhere_a_minute(
    postgres_url, monkeypatch
):
    """A migration makes an index for minutes. The server ends, a little later, what a client that is gone has begun."""
    asked = []
    execute = postgres_pool.Connection.execute

    async def noted(connection, sql, *arguments, timeout=None):
        if sql == "select 1;":
            asked.append(timeout)
        return await execute(connection, sql, *arguments, timeout=timeout)

    monkeypatch.setattr(postgres_pool.Connection, "execute", noted)
    store = PostgresStore(postgres_url, clock=SystemClock())
    await store.provision()
    await store.open()
    setting = "select current_setting('statement_timeout')"
    try:
        limits = [(await store.query(setting))[0][0]]
        for timeout in (LIMIT, 600.0, LIMIT):
            async with store.transaction(timeout=timeout, exclusive=True) as tx:
                await tx.script("select 1;")
                limits += [row[0] for row in await tx.query(setting)]
    finally:
        await store.close()
    assert asked == [60.0, 600.0, 60.0], "in seconds, ours"
    assert limits == ["65s", "65s", "605s", "65s"], "the server's"


async def test_who_is_exclusive_in_one_schema_holds_up_nobody_in_another(postgres_url):
    """A long migration of one service, and the relay of another in the same database."""
    stores = [PostgresStore(f"{postgres_url}_{name}", clock=SystemClock()) for name in "ab"]
    for store in stores:
        await store.provision()
        await store.open()
    one, other = stores
    try:
        async with asyncio.timeout(LIMIT), one.transaction(exclusive=True) as tx:
            await tx.query("select 1")
            async with other.transaction(exclusive=True) as beside:
                assert [tuple(row) for row in await beside.query("select 2")] == [(2,)]
            with pytest.raises(TransactionTimeout):
                async with one.transaction(exclusive=True, timeout=0.5) as again:
                    await again.query("select 3")
    finally:
        for store in stores:
            await store.close()


async def test_the_server_ends_a_transaction_that_its_client_forgot(postgres_url, monkeypatch):
    """F7: it would keep rows locked. What was written in it is undone."""
    monkeypatch.setattr(postgres_pool, "IDLE_IN_TRANSACTION", "200ms")
    store = PostgresStore(postgres_url, clock=SystemClock())
    await store.provision()
    await store.open()
    try:
        async with store.transaction() as tx:
            await tx.script("create table forgotten (n integer)")
        with pytest.raises(StoreUnavailable):
            async with store.transaction() as tx:
                await tx.execute("insert into forgotten values (1)")
                [[pid]] = await tx.query("select pg_backend_pid()")
                while await store.query("select 1 from pg_stat_activity where pid = ?", pid):
                    await SystemClock().sleep(0.05)
        assert await store.query("select n from forgotten") == []
    finally:
        await store.close()
