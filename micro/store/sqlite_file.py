"""One database file that belongs to this process: a connection that writes, connections that read, and the lock."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from micro.errors import StoreUnavailable
from micro.store.lock import FileLock
from micro.store.sqlite_connection import Connection
from micro.store.sqlite_quick import QuickReader, TooLong
from micro.store.sqlite_statements import fetch
from micro.store.sqlite_version import require_library

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from micro.store.ports import Row, Value

_T = TypeVar("_T")

READ_SECONDS = 30.0
"""How long one read may take."""

_WRITER = (
    "synchronous=NORMAL",  # a commit survives the process, not the power; the file is never damaged
    "foreign_keys=ON",
    "journal_size_limit=16777216",  # a log that a long read made large shrinks again
)
_READER = ("query_only=ON",)

_pending = attrgetter("pending")


class SqliteFile:
    """Opens and closes the connections, and sends functions to them.

    The writer alone writes and checkpoints, and it is closed last: below SQLite 3.51.3 two connections doing so at the
    same moment can damage the file (https://www.sqlite.org/wal.html). Readers see what was committed before.
    """

    def __init__(self, path: Path, *, readers: int) -> None:
        self.path = path
        self._writer = Connection(path, pragmas=_WRITER)
        self._readers = [Connection(path, pragmas=_READER, limit=READ_SECONDS) for _ in range(readers)]
        self._quick = QuickReader(path, pragmas=_READER)
        self._held = AsyncExitStack()

    async def open(self) -> None:
        """Make the folder (0700) and the file (0600) where they are missing, lock the file and connect.

        Raises `StoreUnavailable` where the file is in use or out of reach, `StoreError` where it is no database.
        """
        require_library()
        lock = FileLock(self.path)
        _make_file(self.path)
        lock.acquire()
        self._held.callback(lock.release)
        self._held.push_async_callback(self._writer.close)
        await self._writer.open()
        await self.write(_use_write_ahead_log, self.path)
        for reader in self._readers:
            self._held.push_async_callback(reader.close)
        await asyncio.gather(*(reader.open() for reader in self._readers))
        self._held.callback(self._quick.close)
        self._quick.open()

    async def close(self) -> None:
        """Close what was opened: the readers, the writer, the lock. Idempotent."""
        await self._held.aclose()

    async def write(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call `function(connection, *arguments)` on the writer's thread: one crossing."""
        return await self._writer.run(function, *arguments)

    def write_later(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Send a function to the writer and don't wait: whatever is sent later finds it done."""
        self._writer.post(function, *arguments)

    async def fetch(self, sql: str, parameters: tuple[Value, ...]) -> list[Row]:
        """All rows of one statement: at once where that is quick, else on a reader's thread."""
        try:
            return await self._quick.fetch(sql, parameters)
        except TooLong:
            return await self.read(fetch, sql, parameters)

    async def read(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call `function(connection, *arguments)` on a reader's thread: one crossing.

        The first reader takes all while it is prompt, since calls that cross together cost less; the next ones step in
        where a slow statement holds it up.
        """
        for reader in self._readers:
            if reader.is_prompt():
                return await reader.run(function, *arguments)
        return await min(self._readers, key=_pending).run(function, *arguments)


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)  # SQLite gives its side files the same permissions
    except OSError as error:
        raise StoreUnavailable(f"{path}: can't be created: {error.strerror}") from error


def _use_write_ahead_log(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(f"{path}: its file system can't hold a write-ahead log; use a local disk")
