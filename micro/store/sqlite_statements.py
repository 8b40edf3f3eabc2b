"""One statement: what SQLite is given for it, and running it on a connection."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from micro.errors import StoreError
from micro.store.sql import check_parameters, parse

if TYPE_CHECKING:
    import sqlite3

    from micro.store.ports import Row, Value
    from micro.store.sql import Statement

Bound: TypeAlias = "tuple[str, tuple[Value, ...]]"
"""A statement's text and its values."""


def bind(sql: str, parameters: tuple[Value, ...]) -> Bound:
    """The text and values that SQLite is given. Raises as `micro.store.sql` does, and for ``??``."""
    statement, text = _prepared(sql)
    check_parameters(statement, parameters)
    return text, parameters


@lru_cache(maxsize=1024)
def _prepared(sql: str) -> tuple[Statement, str]:
    statement = parse(sql)
    if statement.has_literal:
        raise StoreError(
            "?? is an operator of PostgreSQL; SQLite has none that is written with a question mark"
        )
    return statement, "?".join(statement.pieces)


def change(connection: sqlite3.Connection, sql: str, parameters: tuple[Value, ...]) -> int:
    """Run a statement to its end; how many rows it changed."""
    cursor = connection.execute(sql, parameters)
    if cursor.description is not None:  # with RETURNING the count is known once all rows were taken
        cursor.fetchall()
    return max(cursor.rowcount, 0)


def fetch(connection: sqlite3.Connection, sql: str, parameters: tuple[Value, ...]) -> list[Row]:
    """Run a statement; all its rows."""
    return connection.execute(sql, parameters).fetchall()
