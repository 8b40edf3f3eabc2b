"""Of all edits, those are followed that a running service may know."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from watchfiles import Change

from micro.runtime.watch import Sources, Watcher
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT = 60.0


class Reloader:
    """Notes what it is told; knows `shop.py`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[str] = []
        self.deep: frozenset[Path] = frozenset()
        self.late: list[Path] = []
        self.news = asyncio.Event()

    async def survey(self) -> None:
        return None

    def missed(self) -> list[Path]:
        return self.late

    def folders(self) -> tuple[frozenset[Path], frozenset[Path]]:
        return self.deep, frozenset()

    def concerns(self, file: Path) -> bool:
        return file.name == "shop.py"

    async def edited(self, files: Any) -> None:
        self.told += [file.name for file in files]
        self.news.set()


class Settings:
    def follow(self, notice: Callable[[str], None], *, news_only: bool = False) -> None:
        notice("in force")


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
async def reloader(tmp_path: Path) -> Reloader:
    return Reloader(tmp_path)


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def watcher(tmp_path: Path, reloader: Reloader, settings: Settings, notices: list[str]) -> Watcher:
    system: Any = SimpleNamespace(
        shared=SimpleNamespace(stack=SimpleNamespace(root=tmp_path), clock=FakeClock())
    )
    return Watcher(system, reloader=reloader, settings=settings, notice=notices.append)  # type: ignore[arg-type] # doubles


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("shop.py", Change.modified, ["shop.py"]),
        ("shop.py", Change.added, ["shop.py"]),
        ("shop.py", Change.deleted, ["shop.py"]),
        ("unused.py", Change.modified, ["unused.py"]),
        ("unused.py", Change.added, []),
        ("0002_x.sql", Change.modified, ["0002_x.sql"]),
        ("notes.txt", Change.modified, []),
        (".#shop.py", Change.modified, []),
        (".micro/x.py", Change.modified, []),
    ],
)
async def test_code_and_migrations_are_followed(
    watcher: Watcher, reloader: Reloader, tmp_path: Path, name: str, change: Change, told: list[str]
) -> None:
    await watcher.handle({(change, str(tmp_path / name))})
    assert reloader.told == told


@pytest.mark.parametrize("name", ["micro.toml", "pyproject.toml", ".env"])
async def test_settings_are_read_again(
    watcher: Watcher, tmp_path: Path, notices: list[str], name: str
) -> None:
    await watcher.handle(
        {(Change.modified, str(tmp_path / name)), (Change.modified, str(tmp_path / "sub" / name))}
    )
    assert notices == ["in force"]


async def test_settings_below_the_folder_are_others(
    watcher: Watcher, tmp_path: Path, notices: list[str]
) -> None:
    await watcher.handle({(Change.modified, str(tmp_path / "sub" / "micro.toml"))})
    assert notices == []


async def test_what_was_edited_before_anything_was_watched_is_followed(
    watcher: Watcher, reloader: Reloader, notices: list[str], tmp_path: Path
) -> None:
    """Between the reading of the files and the first look at them lies the whole start."""
    reloader.late = [tmp_path / "shop.py"]
    running = asyncio.create_task(watcher.run())
    async with asyncio.timeout(LIMIT):
        await reloader.news.wait()
    assert (notices, reloader.told) == (["in force"], ["shop.py"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("shop.py", True),
        ("deep/0001_x.sql", True),
        ("micro.toml", True),
        (".env", True),
        ("pyproject.toml", True),
        (".micro/logs/shop.py", False),
        (".micro/shop.db-wal", False),
        (".venv/lib/x.py", False),
        ("__pycache__/shop.pyc", False),
        ("notes.txt", False),
        (".#shop.py", False),
    ],
)
def test_what_the_stack_and_tools_write_is_not_even_looked_at(
    tmp_path: Path, path: str, matters: bool
) -> None:
    assert Sources()(Change.modified, str(tmp_path / path)) is matters


async def test_no_change_is_logged_by_the_library(
    watcher: Watcher, reloader: Reloader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    reloader.late = [tmp_path / "late.py"]
    running = asyncio.create_task(watcher.run())
    async with asyncio.timeout(LIMIT):
        await reloader.news.wait()
        reloader.news.clear()
        (tmp_path / "shop.py").write_text("")
        await reloader.news.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not [record for record in caplog.records if record.name.startswith("watchfiles")]


async def test_edits_are_noticed_below_the_codes_folders_and_in_the_stacks_own(
    watcher: Watcher, reloader: Reloader, tmp_path: Path
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    reloader.deep = frozenset({tmp_path / "deep"})
    reloader.late = [tmp_path / "late.py"]
    running = asyncio.create_task(watcher.run())
    async with asyncio.timeout(LIMIT):
        await reloader.news.wait()
        assert reloader.told == ["late.py"]
        for place in (tmp_path / "deep" / "er" / "shop.py", tmp_path / "shop.py"):
            reloader.news.clear()
            place.write_text("")
            await reloader.news.wait()
            assert reloader.told[-1] == "shop.py"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_other_folders_are_watched_once_the_code_is_elsewhere(
    watcher: Watcher, reloader: Reloader, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    reloader.late = [tmp_path / "late.py"]
    running = asyncio.create_task(watcher.run())
    async with asyncio.timeout(LIMIT):
        await reloader.news.wait()
        reloader.deep = frozenset({tmp_path / "deep"})
        reloader.news.clear()
        (tmp_path / "shop.py").write_text("")
        await reloader.news.wait()
        reloader.news.clear()
        await reloader.news.wait()  # what was missed is looked for with the new folders, too
        reloader.news.clear()
        (tmp_path / "deep" / "shop.py").write_text("")
        await reloader.news.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
