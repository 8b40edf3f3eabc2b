"""PostgreSQL keeps the store's contract."""

from __future__ import annotations

import pytest

from micro.clock import SystemClock
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
