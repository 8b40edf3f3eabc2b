"""The contract suite of the store port. Every backend passes it: subclass, name the backend, run pytest.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: MyStore(f"mystore:{tmp_path}/it.db", clock=SystemClock())

        @pytest.fixture
        def unreachable(self):
            return MyStore("mystore:/nowhere/it.db", clock=SystemClock())

Needs pytest-asyncio in its ``auto`` mode. What a backend doesn't promise in its features is skipped by name.
"""

from __future__ import annotations

from micro.testing.store_commits import CommitContract
from micro.testing.store_lifecycle import LifecycleContract
from micro.testing.store_statements import StatementContract
from micro.testing.store_transactions import TransactionContract


class StoreContract(TransactionContract, CommitContract, StatementContract, LifecycleContract):
    """What `micro.store.ports.Store` and `micro.store.ports.Transaction` promise.

    A subclass gives two fixtures: `make` constructs a store (without opening it) on this test's own database, empty at
    first, and every time on the same one; `unreachable` is a store that can't be opened.
    """
