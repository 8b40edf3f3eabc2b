"""What is said about the SQLite library that Python brings."""

from __future__ import annotations

import pytest

from micro.clock import SystemClock
from micro.errors import StoreUnavailable
from micro.store.sqlite import SqliteStore
from micro.store.sqlite_version import library_warning, require_library


def use(monkeypatch, version):
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    monkeypatch.setattr("sqlite3.sqlite_version", ".".join(map(str, version)))


@pytest.mark.parametrize("version", [(3, 51, 3), (3, 53, 0), (4, 0, 0)])
def test_a_sound_library_is_not_talked_about(monkeypatch, version):
    use(monkeypatch, version)
    assert library_warning() is None


@pytest.mark.parametrize("version", [(3, 37, 0), (3, 40, 1), (3, 51, 2)])
def test_a_library_that_may_damage_a_file_is_told_and_used(monkeypatch, version):
    use(monkeypatch, version)
    assert f"SQLite {'.'.join(map(str, version))}: below 3.51.3" in library_warning()
    require_library()


async def test_a_library_without_strict_tables_is_refused_at_open(monkeypatch, tmp_path):
    use(monkeypatch, (3, 36, 0))
    store = SqliteStore(f"sqlite:{tmp_path}/it.db", clock=SystemClock())
    with pytest.raises(StoreUnavailable, match=r"SQLite 3\.36\.0 is too old: 3\.37\.0 or later"):
        await store.open()
    await store.close()
    assert not (tmp_path / "it.db").exists()
