"""One transaction on the writer, and the functions it sends there."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from micro.errors import StoreError
from micro.store.sql import split
from micro.store.sqlite_statements import bind, change, fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.store.ports import Row, Value
    from micro.store.sqlite_file import SqliteFile
    from micro.store.sqlite_statements import Bound

_T = TypeVar("_T")

_OVER = "the transaction is over"
_BUSY = "another statement of this transaction is still running"
_FAILED = "a statement of this transaction failed; it can only be rolled back"


class SqliteTransaction:
    """`micro.store.ports.Transaction` on SQLite, made by `SqliteStore.transaction`."""

    __slots__ = ("_at_commit", "_begun", "_file", "_refusal")

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._begun = False
        self._at_commit: list[Bound] = []
        self._refusal: str | None = None
        """Why the next statement must be refused."""

    async def execute(self, sql: str, *parameters: Value) -> int:
        """See `micro.store.ports.Transaction.execute`."""
        return await self._run(change, *self._bind(sql, parameters))

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """See `micro.store.ports.Transaction.query`."""
        return await self._run(fetch, *self._bind(sql, parameters))

    async def script(self, sql: str) -> None:
        """See `micro.store.ports.Transaction.script`."""
        await self._run(_change_all, [self._bind(text, ()) for text in _statements(sql)])

    def at_commit(self, sql: str, *parameters: Value, ordered_by: str | None = None) -> None:
        """See `micro.store.ports.Transaction.at_commit`. Writers queue, so every key is ordered."""
        self._at_commit.append(self._bind(sql, parameters))

    async def commit(self) -> None:
        """Run what was kept for the commit, and commit: one crossing, or none where there is nothing to do."""
        if self._refusal is not None:
            raise StoreError(self._refusal)
        if self._begun or self._at_commit:
            function = _finish if self._begun else atomically
            await self._file.write(function, _change_all, self._at_commit)
        self._begun = False

    def end(self) -> None:
        """Refuse what comes later, and roll back what is still open.

        Nothing is awaited, so no cancellation can come between: whatever is sent to the writer next finds it clean.
        """
        self._refusal = _OVER
        if self._begun:
            self._file.write_later(_rollback)

    def _bind(self, sql: str, parameters: tuple[Value, ...]) -> Bound:
        if self._refusal is not None:
            raise StoreError(self._refusal)
        try:
            return bind(sql, parameters)
        except StoreError:
            self._refusal = _FAILED
            raise

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        begun, self._begun = self._begun, True
        self._refusal = _BUSY
        try:
            if begun:
                result = await self._file.write(function, *arguments)
            else:
                result = await self._file.write(_begin, function, arguments)
        except BaseException:
            self._refusal = _FAILED
            raise
        self._refusal = None
        return result


def _change_all(connection: sqlite3.Connection, statements: list[Bound]) -> None:
    for sql, parameters in statements:
        change(connection, sql, parameters)


def _begin(connection: sqlite3.Connection, function: Callable[..., _T], arguments: tuple[Any, ...]) -> _T:
    connection.execute("BEGIN IMMEDIATE")
    return function(connection, *arguments)


def atomically(connection: sqlite3.Connection, function: Callable[..., _T], *arguments: Any) -> _T:
    """On the thread: run `function(connection, *arguments)` in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    return _finish(connection, function, *arguments)


def _finish(connection: sqlite3.Connection, function: Callable[..., _T], *arguments: Any) -> _T:
    try:
        result = function(connection, *arguments)
        connection.execute("COMMIT")
    except BaseException:
        _rollback(connection)
        raise
    return result


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # SQLite ends a transaction by itself when the disk is full
        connection.execute("ROLLBACK")


def _statements(script: str) -> list[str]:
    """The script's statements; pieces of a trigger's body are put together again."""
    statements: list[str] = []
    complete = True
    for piece in split(script):
        if complete:
            statements.append(piece)
        else:
            statements[-1] += f"\n{piece}"
        complete = sqlite3.complete_statement(statements[-1])
    return statements
