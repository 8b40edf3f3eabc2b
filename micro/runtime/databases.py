"""Each service's database: brought up to date, or looked at. Two namespaces in it: micro's own tables, and the service's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import micro.bus
from micro.errors import MigrationError
from micro.store.migrate import MigrationStatus, load_migrations, migrate, status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from micro.clock import Clock
    from micro.service import Service
    from micro.store.migrate import Migration
    from micro.store.ports import Store

FRAMEWORK = "micro"
"""The namespace of outbox, inbox and what else belongs to events."""


async def prepare(store: Store, clock: Clock) -> list[Migration]:
    """Apply what is pending of micro's own tables. Raises `MigrationError`."""
    return await migrate(store, _own(store), namespace=FRAMEWORK, clock=clock)


async def require_prepared(name: str, store: Store) -> None:
    """Raise `MigrationError` where micro's own tables are not all there."""
    states = await status(store, _own(store), namespace=FRAMEWORK)
    if any(state.applied_at is None for state in states):
        raise MigrationError(f"the database of {name} is not up to date; mend it with: micro db migrate")


async def bring_up_to_date(service: Service, store: Store, clock: Clock) -> list[Migration]:
    """Apply what is pending, micro's own first; what was applied. Raises `MigrationError`."""
    applied = []
    for namespace, migrations in _sets(service, store):
        applied += await migrate(store, migrations, namespace=namespace, clock=clock)
    return applied


async def migrations_of(service: Service, store: Store) -> list[MigrationStatus]:
    """Every migration of the service's database, with the time it was applied."""
    found = []
    for namespace, migrations in _sets(service, store):
        found += await status(store, migrations, namespace=namespace)
    return found


def all_pending(service: Service, store: Store) -> list[MigrationStatus]:
    """The same of a database that is not there."""
    return [MigrationStatus(each, None) for _, migrations in _sets(service, store) for each in migrations]


def _sets(service: Service, store: Store) -> Iterator[tuple[str, list[Migration]]]:
    yield FRAMEWORK, _own(store)
    if service.migrations is not None:
        yield service.name, load_migrations(Path(service.migrations), store.dialect)


def _own(store: Store) -> list[Migration]:
    return load_migrations(Path(micro.bus.__path__[0], "migrations"), store.dialect)
