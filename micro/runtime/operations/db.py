"""`micro db`: each service's own database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from micro.clock import rfc3339
from micro.errors import ConfigurationError, StoreError, StoreUnavailable, UsageError
from micro.runtime.databases import all_pending, bring_up_to_date, migrations_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from micro.runtime.system import Hosted, System
    from micro.store.migrate import MigrationStatus
    from micro.store.ports import Row, Store

_MOST_ROWS = 10_000
_GIVES_ROWS = re.compile(
    r"\s*(select|with|values|table|show|pragma|explain)\b|.*\breturning\b", re.IGNORECASE | re.DOTALL
)


class DatabaseOperations:
    """Migrates, says what is applied, and runs a statement."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._clock = system.shared.clock

    async def migrate(self, *, service: str | None = None) -> dict[str, Any]:
        """Apply what is pending; what was applied. Raises `MigrationError`."""
        now = rfc3339(self._clock.now())
        return {
            "made": self._system.made,
            "items": [
                {"service": hosted.member.name, "number": each.number, "name": each.name, "applied_at": now}
                for hosted, store in self._chosen(service)
                for each in await bring_up_to_date(hosted.service, store, self._clock)
            ],
        }

    async def status(self, *, service: str | None = None) -> dict[str, Any]:
        """Every migration, with the time at which it was applied or `null`."""
        return {
            "items": [
                {
                    "service": hosted.member.name,
                    "number": each.migration.number,
                    "name": each.migration.name,
                    "applied_at": each.applied_at,
                }
                for hosted, store in self._chosen(service)
                for each in await self._states(hosted, store)
            ]
        }

    async def query(self, *, service: str, sql: str, write: bool = False) -> dict[str, Any]:
        """Run one statement: `columns` and `rows` where it has some (10,000 at most, else `truncated`), else `changed`.

        Without `write` a statement that writes is refused. Bytes come as ``X'0aff'``. Raises `UsageError` for a
        statement that the database refuses.
        """
        ((_, store),) = self._chosen(service)
        if service in self._system.absent:
            raise UsageError(f"{service}: there is no such database; make it with: micro db migrate")
        try:
            return await (_change(store, sql) if write else _read(store, sql))
        except StoreUnavailable:
            raise
        except StoreError as error:
            refused = not write and "only reads" in str(error)
            said = "this only reads; to change something, add --write" if refused else error
            raise UsageError(f"{service}: {said}") from error

    async def _states(self, hosted: Hosted, store: Store) -> list[MigrationStatus]:
        if hosted.member.name in self._system.absent:
            return all_pending(hosted.service, store)
        return await migrations_of(hosted.service, store)

    def _chosen(self, service: str | None) -> Iterator[tuple[Hosted, Store]]:
        if service is not None:
            self._system.hosted(service)
        for name, hosted in self._system.services.items():
            if service in {None, name} and hosted.store is not None:
                yield hosted, hosted.store
            elif service == name:
                raise ConfigurationError(f"{name} has no database: it is given by app =, not by service =")


async def _read(store: Store, sql: str) -> dict[str, Any]:
    return _answer(await store.query(sql))


async def _change(store: Store, sql: str) -> dict[str, Any]:
    async with store.transaction() as tx:
        if _GIVES_ROWS.match(sql):
            return _answer(await tx.query(sql))
        return {"columns": [], "rows": [], "changed": await tx.execute(sql)}


def _answer(rows: list[Row]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "columns": list(rows[0].keys()) if rows else [],
        "rows": [[_shown(value) for value in row] for row in rows[:_MOST_ROWS]],
        "changed": 0,
    }
    return answer | ({"truncated": len(rows)} if len(rows) > _MOST_ROWS else {})


def _shown(value: Any) -> Any:
    """A value as JSON can carry it; what only the database knows, such as a date's type, as text."""
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return value if value is None or isinstance(value, str | int | float) else str(value)
