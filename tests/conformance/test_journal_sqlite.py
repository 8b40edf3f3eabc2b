"""The SQLite journal keeps the journal's contract."""

from __future__ import annotations

import pytest

from micro.store.journal import SqliteJournal
from micro.testing import JournalContract


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def make(self, tmp_path):
        return lambda: SqliteJournal(tmp_path / "bus.db")
