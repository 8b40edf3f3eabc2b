"""SQLite keeps the store's contract."""

from __future__ import annotations

import pytest

from micro.clock import SystemClock
from micro.store.sqlite import SqliteStore
from micro.testing import StoreContract


class TestSqlite(StoreContract):
    @pytest.fixture
    def make(self, tmp_path):
        return lambda: SqliteStore(f"sqlite:{tmp_path}/service.db", clock=SystemClock())

    @pytest.fixture
    def unreachable(self, tmp_path):
        (tmp_path / "a file").touch()
        return SqliteStore(f"sqlite:{tmp_path}/a file/service.db", clock=SystemClock())
