"""PostgreSQL keeps the store's contract."""

from __future__ import annotations

import pytest

from micro.clock import SystemClock
from micro.errors import StoreError, StoreUnavailable
from micro.infra.server import free_ports
from micro.store.postgres import PostgresStore
from micro.testing import StoreContract

pytestmark = pytest.mark.live


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
