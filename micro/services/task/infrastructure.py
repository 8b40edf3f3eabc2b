"""Tasks and categories in SQL. The columns of a table have the names of the fields that they fill."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any, Generic

from micro import ConstraintViolation
from micro.services.task.application import CategoryInUse, T, UnknownCategory, V

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro import Event, Resources


class Table(Generic[V]):
    """The statements for one kind of thing. Nothing but names of our own is put into them."""

    def __init__(self, name: str, view: type[V]) -> None:
        shown = view.__struct_fields__
        names = (*shown, "version")
        columns, marks = ", ".join(names), ", ".join("?" * len(names))
        changes = ", ".join(f"{column} = ?" for column in names)
        self.view = view
        self.find = f"select {columns} from {name} where id = ?"  # noqa: S608 # see the class
        self.page = f"select {', '.join(shown)} from {name} where "  # noqa: S608 # see the class
        self.add = f"insert into {name} ({columns}) values ({marks})"  # noqa: S608 # see the class
        self.change = f"update {name} set {changes} where id = ? and version = ?"  # noqa: S608 # see the class
        self.remove = f"delete from {name} where id = ? and version = ?"  # noqa: S608 # see the class


class SqlRows(Generic[T, V]):
    """See `micro.services.task.application.Rows`. What a constraint refuses is refused by the foreign key of tasks."""

    __slots__ = ("_micro", "_table")

    def __init__(self, micro: Resources, table: Table[V]) -> None:
        self._micro = micro
        self._table = table

    async def find(self, id: str) -> tuple[V, int] | None:
        """See `Rows.find`."""
        rows: list[Any] = await self._micro.query(self._table.find, id)
        if not rows:
            return None
        *values, version = rows[0]
        return self._table.view(*values), version

    async def page(
        self, limit: int, before: str, wanted: Mapping[str, str], *, reader: str | None = None
    ) -> list[V]:
        """See `Rows.page`. Reads at most `limit` rows by each index, however many the reader has."""
        filters = [f"{name} = ?" for name in wanted] + ["id < ?"]
        readers = [] if reader is None else ["owner_id = ?", "assignee_id = ?"]
        legs = [
            f"select * from ({self._table.page}{' and '.join([*mine, *filters])} order by id desc limit ?) as leg"  # noqa: S608 # see `Table`
            for mine in ([[role] for role in readers] or [[]])
        ]
        who = [] if reader is None else [reader]
        parameters: list[Any] = [*who, *wanted.values(), before, limit] * len(legs)
        sql = f"{' union '.join(legs)} order by id desc limit ?"
        rows: list[Any] = await self._micro.query(sql, *parameters, limit)
        return [self._table.view(*row) for row in rows]

    async def add(self, thing: T, event: Event | None = None) -> None:
        """See `Rows.add`."""
        try:
            await self._write(self._table.add, *astuple(thing), event=event, key=thing.id)
        except ConstraintViolation as error:
            raise UnknownCategory from error

    async def swap(self, before: T, after: T | None, event: Event | None) -> bool:
        """See `Rows.swap`."""
        seen = (before.id, before.version)
        new = astuple(after) if after else ()
        statement = self._table.change if after else self._table.remove
        try:
            return await self._write(statement, *new, *seen, event=event, key=before.id)
        except ConstraintViolation as error:
            raise UnknownCategory if after else CategoryInUse("Tasks name this category.") from error

    async def _write(self, statement: str, *values: Any, event: Event | None, key: str) -> bool:
        async with self._micro.transaction() as tx:
            written = await tx.execute(statement, *values) == 1
            if written and event:
                tx.emit(event, key=key)
        return written
