"""A connection for reads so short that waking another thread would cost several times as much."""

from __future__ import annotations

import asyncio
import sqlite3
from types import coroutine
from typing import TYPE_CHECKING

from micro.errors import StoreUnavailable
from micro.store.sqlite_errors import DRIVER_ERRORS, translate
from micro.store.sqlite_statements import fetch

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from micro.store.ports import Row, Value

_STEPS = 4_000
"""Instructions of SQLite's machine that a read may take here, at most twice as many: some 0.1 ms. A look-up by key takes
about 30."""
_READS_A_TURN = 64
"""Reads within one turn of the event loop before others get theirs: `while not await store.query(…)` starves nobody."""
_CACHED_STATEMENTS = 256
_ELSEWHERE = frozenset({sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class TooLong(Exception):
    """The read has to be done on a thread: it takes too many steps, or would have to wait."""


class QuickReader:
    """Runs statements on the event loop's own thread, each stopped after `_STEPS` instructions.

    It never waits for a lock. Pages that aren't in memory are read from the disk, as they would be for a page fault.
    """

    def __init__(self, path: Path, *, pragmas: tuple[str, ...]) -> None:
        self._path = path
        self._pragmas = pragmas
        self._connection: sqlite3.Connection | None = None
        self._reads = 0
        self._looks = 0

    def open(self) -> None:
        """Connect to a file that exists."""
        try:
            self._connection = connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=0, cached_statements=_CACHED_STATEMENTS
            )
            connection.row_factory = sqlite3.Row
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.set_progress_handler(self._is_too_long, _STEPS)
        except DRIVER_ERRORS as error:
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def fetch(self, sql: str, parameters: tuple[Value, ...]) -> list[Row]:
        """All rows of one statement. Raises `TooLong`, else as `Connection.run` does."""
        if not self._reads:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        elif self._reads >= _READS_A_TURN:
            await _give_way()
        self._reads += 1
        if self._connection is None:
            raise StoreUnavailable(f"{self._path} is not open")
        self._looks = 0
        try:
            return fetch(self._connection, sql, parameters)
        except DRIVER_ERRORS as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _ELSEWHERE:
                raise TooLong from error
            raise translate(error, self._path) from error

    def _begin_turn(self) -> None:
        self._reads = 0

    def _is_too_long(self) -> bool:
        """Called by SQLite each `_STEPS` instructions, counted over all runs of a statement: the first says nothing."""
        self._looks += 1
        return self._looks > 1


@coroutine
def _give_way() -> Generator[None, None, None]:
    yield
