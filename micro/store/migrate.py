"""Numbered SQL files, applied once each, in order."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from micro.clock import rfc3339
from micro.errors import MigrationError, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from micro.clock import Clock
    from micro.store.ports import Dialect, Row, Store, Transaction

_FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)(?:\.(?P<dialect>sqlite|postgresql))?\.sql")

_TIMEOUT = 600.0
"""Seconds that one migration may take."""

_CREATE_TABLE: dict[Dialect, str] = {
    "sqlite": """create table if not exists micro_migrations (
        namespace text not null, number integer not null, name text not null, checksum text not null,
        applied_at text not null, primary key (namespace, number)) strict""",
    "postgresql": """create table if not exists micro_migrations (
        namespace text not null, number bigint not null, name text not null, checksum text not null,
        applied_at text not null, primary key (namespace, number))""",
}

_TABLE_EXISTS: dict[Dialect, str] = {
    "sqlite": "select 1 from sqlite_master where type = 'table' and name = 'micro_migrations'",
    "postgresql": "select 1 from pg_tables where schemaname = current_schema() and tablename = 'micro_migrations'",
}

_APPLIED = (
    "select number, name, checksum, applied_at from micro_migrations where namespace = ? order by number"
)


class _Applied(NamedTuple):
    """A row of the table, which names the columns in this order."""

    number: int
    name: str
    checksum: str
    applied_at: str


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of a schema, as read from its file."""

    number: int
    name: str
    sql: str = field(repr=False)
    checksum: str
    """SHA-256 of the text with Unix line ends."""

    @property
    def label(self) -> str:
        """How the file is called, without the ending."""
        return f"{self.number:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration, and when it was applied to a certain database."""

    migration: Migration
    applied_at: str | None
    """RFC 3339; nothing while it is pending."""


def load_migrations(folder: Path, dialect: Dialect) -> list[Migration]:
    """Read ``0001_name.sql``, ``0002_…`` from `folder`, in order.

    ``0001_name.postgresql.sql`` takes the place of its twin ``0001_name.sql`` on that dialect. Raises `MigrationError`
    for a missing folder, a file that is named otherwise, a number used twice or left out, and a twin without its base.
    """
    if not folder.is_dir():
        raise MigrationError(f"{folder}: there is no such folder")
    bases: dict[int, Path] = {}
    twins: dict[str, Path] = {}
    for file in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise MigrationError(f"{file}: call it 0001_name.sql, with lower-case letters, digits and _")
        if match["dialect"] is not None:
            twins[file.name] = file
            continue
        other = bases.setdefault(int(match["number"]), file)
        if other is not file:
            raise MigrationError(f"{file}: has the same number as {other.name}; renumber the newer one")
    _check_twins(bases, twins)
    missing = sorted(set(range(1, len(bases) + 1)) - set(bases))
    if missing:
        raise MigrationError(
            f"{folder}: number {missing[0]:04d} is missing; numbers start at 0001 without gaps"
        )
    return [_read(number, base, dialect, twins) for number, base in sorted(bases.items())]


async def migrate(
    store: Store, migrations: Sequence[Migration], *, namespace: str, clock: Clock
) -> list[Migration]:
    """Apply what is pending, in order; what was applied. Safe to call from several processes at once.

    Each migration runs in an exclusive transaction together with the note that it was applied, so one that fails leaves
    nothing behind; those before it stay. Raises `MigrationError` when a file was edited or removed after it was
    applied, is numbered below one that was applied, or fails; `StoreUnavailable` when the database can't be reached.
    """
    async with store.transaction(timeout=_TIMEOUT, exclusive=True) as tx:
        await tx.execute(_CREATE_TABLE[store.dialect])
        pending = _pending(migrations, _applied(await tx.query(_APPLIED, namespace)), namespace)
    return [
        migration for migration in pending if await _apply(store, migration, namespace=namespace, clock=clock)
    ]


async def status(store: Store, migrations: Sequence[Migration], *, namespace: str) -> list[MigrationStatus]:
    """Which migrations were applied, and when. Changes nothing; raises `MigrationError` as `migrate` does."""
    rows: list[_Applied] = []
    if await store.query(_TABLE_EXISTS[store.dialect]):
        rows = _applied(await store.query(_APPLIED, namespace))
    _pending(migrations, rows, namespace)
    moments = {row.number: row.applied_at for row in rows}
    return [MigrationStatus(migration, moments.get(migration.number)) for migration in migrations]


def _applied(rows: list[Row]) -> list[_Applied]:
    return [_Applied(*cast(Any, row)) for row in rows]


def _check_twins(bases: dict[int, Path], twins: dict[str, Path]) -> None:
    stems = {base.stem for base in bases.values()}
    for name, twin in twins.items():
        if name.split(".")[0] not in stems:
            raise MigrationError(
                f"{twin}: there is no {name.split('.')[0]}.sql beside it; add one for the other databases"
            )


def _read(number: int, base: Path, dialect: Dialect, twins: dict[str, Path]) -> Migration:
    file = twins.get(f"{base.stem}.{dialect}.sql", base)
    try:
        sql = file.read_text("utf-8")  # reading as text makes every line end \n
    except UnicodeDecodeError as error:
        raise MigrationError(f"{file}: is not UTF-8 text") from error
    return Migration(number, base.stem[5:], sql, hashlib.sha256(sql.encode()).hexdigest())


def _pending(migrations: Sequence[Migration], applied: list[_Applied], namespace: str) -> list[Migration]:
    """What is still to be applied, once what was applied is found unchanged."""
    known = {migration.number: migration for migration in migrations}
    for row in applied:
        migration = known.pop(row.number, None)
        if migration is None:
            raise MigrationError(
                f"{namespace}: {row.number:04d}_{row.name}.sql was applied to this database and is gone; "
                "bring the file back"
            )
        if migration.checksum != row.checksum:
            raise MigrationError(
                f"{namespace}: {migration.label}.sql was edited after it was applied on {row.applied_at}; "
                "undo the edit and put the change into a new file"
            )
    latest = max((row.number for row in applied), default=0)
    pending = sorted(known.values(), key=lambda migration: migration.number)
    if pending and pending[0].number < latest:
        raise MigrationError(
            f"{namespace}: {pending[0].label}.sql is new, but {latest:04d} was applied before; "
            f"renumber it to {max(latest, *known) + 1:04d}"
        )
    return pending


async def _apply(store: Store, migration: Migration, *, namespace: str, clock: Clock) -> bool:
    """Whether it was applied here; not where another process was faster."""
    async with store.transaction(timeout=_TIMEOUT, exclusive=True) as tx:
        applied = _applied(await tx.query(_APPLIED, namespace))
        if any(row.number == migration.number for row in applied):
            return False
        await _run(tx, migration, namespace)
        await tx.execute(
            "insert into micro_migrations (namespace, number, name, checksum, applied_at) values (?, ?, ?, ?, ?)",
            namespace,
            migration.number,
            migration.name,
            migration.checksum,
            rfc3339(clock.now()),
        )
    return True


async def _run(tx: Transaction, migration: Migration, namespace: str) -> None:
    try:
        await tx.script(migration.sql)
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise MigrationError(
            f"{namespace}: {migration.label}.sql failed and left nothing behind: {error}; mend the file and try again"
        ) from error
