"""What SQLite's errors mean here (result codes: https://www.sqlite.org/rescode.html)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from micro.errors import ConstraintViolation, StoreError, StoreUnavailable, UniqueViolation

if TYPE_CHECKING:
    from pathlib import Path

DRIVER_ERRORS = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError)
"""Everything that the driver raises; `OverflowError` and `UnicodeEncodeError` come from binding a parameter."""

_UNIQUE = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
    }
)

_BY_PRIMARY_CODE: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_CONSTRAINT: (ConstraintViolation, "refused"),
    sqlite3.SQLITE_MISMATCH: (ConstraintViolation, "refused"),
    sqlite3.SQLITE_TOOBIG: (ConstraintViolation, "the value is too large"),
    sqlite3.SQLITE_BUSY: (StoreUnavailable, "another program holds the database; close it or try again"),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "another program holds the database; close it or try again"),
    sqlite3.SQLITE_FULL: (StoreUnavailable, "no space left on the disk; free some and try again"),
    sqlite3.SQLITE_NOMEM: (StoreUnavailable, "out of memory"),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, "reading or writing the file failed; check the disk"),
    sqlite3.SQLITE_READONLY: (
        StoreUnavailable,
        "the file can't be written; check its permissions and its folder's",
    ),
    sqlite3.SQLITE_PERM: (StoreUnavailable, "the file can't be opened; check its permissions"),
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnavailable,
        "the file can't be opened; check its path, its permissions and the limit of open files",
    ),
    sqlite3.SQLITE_INTERRUPT: (StoreUnavailable, "the statement was stopped: it took too long"),
    sqlite3.SQLITE_CORRUPT: (StoreError, "the file is damaged; restore it from a copy"),
    sqlite3.SQLITE_NOTADB: (StoreError, "the file is not an SQLite database"),
}

_BY_CLASS: dict[type[Exception], tuple[type[StoreError], str]] = {
    OverflowError: (ConstraintViolation, "an integer beyond 64 bits can't be stored"),
    UnicodeEncodeError: (ConstraintViolation, "text with a lone surrogate can't be stored"),
    sqlite3.DataError: (ConstraintViolation, "the value is too large"),
}


def translate(error: Exception, path: Path) -> StoreError:
    """The error of ours that says what `error` (one of `DRIVER_ERRORS`) means for the database at `path`."""
    code = getattr(error, "sqlite_errorcode", None)
    if code in _UNIQUE:
        return UniqueViolation(f"{path}: {error}")
    kind, sentence = _BY_PRIMARY_CODE.get((code or 0) & 0xFF) or _BY_CLASS.get(type(error), (StoreError, ""))
    return kind(": ".join(filter(None, (str(path), sentence, str(error)))))


def is_refused_write(error: BaseException | None) -> bool:
    """Whether a connection refused to write because it was told to (``query_only``), not because it can't."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY
