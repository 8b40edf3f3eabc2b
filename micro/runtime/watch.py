"""Watches the folders of the services' code and the configuration; nothing that the stack itself writes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import Change, DefaultFilter, awatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from micro.runtime.reload import Reloader
    from micro.runtime.settings import Settings
    from micro.runtime.system import System

    Changes = set[tuple[Change, str]]

_DEBOUNCE, _QUIET = 400, 50
"""Milliseconds: how long to gather changes at most, and how long it must be quiet to stop earlier."""
_MOST_WAITING = 100
_CONFIGURATION = frozenset({"micro.toml", "pyproject.toml", ".env"})
_CODE = frozenset({".py", ".sql"})
_STATE = ".micro"


class Sources(DefaultFilter):
    """Lets code and configuration through, of wherever; nothing of what tools or the stack itself write.

    What it holds back is not even mentioned: a log line about a change of a log file would never end.
    """

    ignore_dirs = (*DefaultFilter.ignore_dirs, _STATE)

    def __call__(self, change: Change, path: str) -> bool:
        """Whether this change may matter."""
        file = Path(path)
        return (file.suffix in _CODE or file.name in _CONFIGURATION) and super().__call__(change, path)


class Watcher:
    """Turns edits into reloads."""

    def __init__(
        self, system: System, *, reloader: Reloader, settings: Settings, notice: Callable[[str], None]
    ) -> None:
        self._root = system.shared.stack.root.resolve()
        self._clock = system.shared.clock
        self._reloader = reloader
        self._settings = settings
        self._notice = notice

    async def run(self) -> None:
        """Watch; watch other folders once a reload has changed where the code is. Never returns.

        What was edited before anything was watched is seen, too: since the stack read it, or since the last reload.
        """
        logging.getLogger("watchfiles").setLevel(
            logging.WARNING
        )  # it tells every change, we tell what comes of it
        await self._reloader.survey()
        while True:
            deep, flat = folders = self._folders()
            seen: asyncio.Queue[Changes] = asyncio.Queue(_MOST_WAITING)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_watch(places, seen, recursive=recursive))
                    for places, recursive in ((deep, True), (flat, False))
                    if places
                ]
                await self._clock.sleep(0)  # each has begun to watch after one turn
                self._settings.follow(self._notice, news_only=True)
                missed = await asyncio.to_thread(self._reloader.missed)
                if missed:
                    await self._reloader.edited(missed)
                while self._folders() == folders:
                    await self.handle(await seen.get())
                for task in tasks:
                    task.cancel()

    async def handle(self, changes: Changes) -> None:
        """See what these edits ask for, and do it."""
        files = {Path(path): change for change, path in changes}
        if any(file.name in _CONFIGURATION and file.parent == self._root for file in files):
            self._settings.follow(self._notice)
        code = [file for file, change in files.items() if self._matters(file, change)]
        if code:
            await self._reloader.edited(code)

    def _matters(self, file: Path, change: Change) -> bool:
        """Whether a running service may know this file. One that is new is known as soon as another one imports it."""
        if file.suffix not in _CODE or file.name.startswith(".") or _STATE in file.parts:
            return False
        return change is not Change.added or self._reloader.concerns(file)

    def _folders(self) -> tuple[frozenset[Path], frozenset[Path]]:
        """What to watch with everything below, and what for its own files only."""
        deep, flat = self._reloader.folders()
        return deep, flat | {self._root}


async def _watch(places: Collection[Path], seen: asyncio.Queue[Changes], *, recursive: bool) -> None:
    async for changes in awatch(
        *places, watch_filter=Sources(), debounce=_DEBOUNCE, step=_QUIET, recursive=recursive
    ):
        await seen.put({(change, path) for change, path in changes})
