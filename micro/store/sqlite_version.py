"""Which SQLite libraries will do. Python brings its own or the system's; only the person at the machine can change it."""

from __future__ import annotations

import sqlite3

from micro.errors import StoreUnavailable

_NEEDED = (3, 37, 0)
"""STRICT tables (3.37) and RETURNING (3.35)."""
SOUND = (3, 51, 3)
"""From here on, two connections that write or checkpoint at the same moment can't damage a file in WAL mode."""


def library_warning() -> str | None:
    """What to tell at start about the SQLite library in use; nothing where it is sound."""
    if sqlite3.sqlite_version_info >= SOUND:
        return None
    return (
        f"SQLite {sqlite3.sqlite_version}: below {dotted(SOUND)} a second program that writes to the same file can "
        "damage it (https://www.sqlite.org/wal.html); leave .micro/*.db to micro while it runs"
    )


def require_library() -> None:
    """Raise `StoreUnavailable` where the SQLite library is too old for what the store uses."""
    if sqlite3.sqlite_version_info < _NEEDED:
        raise StoreUnavailable(
            f"SQLite {sqlite3.sqlite_version} is too old: {dotted(_NEEDED)} or later is needed; use a newer Python"
        )


def dotted(version: tuple[int, int, int]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))
