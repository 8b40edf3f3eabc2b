"""What micro asks of a database: transactions, reads, and statements that run with the commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from micro.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

Value: TypeAlias = str | int | float | bytes | None
"""What goes into a parameter and comes out of a column."""

Dialect: TypeAlias = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFeatures:
    """What a backend promises. The contract suite tests what is promised and skips the rest by name."""

    concurrent_writers: bool
    """Two transactions may write at the same moment; otherwise they queue."""
    survives_power_loss: bool
    shared_by_processes: bool
    """More than one process may use it at a time; the store is a `Signals`, too."""


class Row(Protocol):
    """One result row: by column name or index; `dict(row)` works."""

    def __getitem__(self, key: str | int, /) -> Value: ...
    def __iter__(self) -> Iterator[Value]: ...
    def keys(self) -> list[str]:
        """The column names, in order."""
        ...


class Transaction(Protocol):
    """Statements that commit together or not at all, at READ COMMITTED. Used by one task at a time.

    ``?`` marks a parameter, ``??`` a literal question mark; both are left alone inside strings, quoted names and
    comments.

    Raises `UniqueViolation`, `ConstraintViolation`, `StoreUnavailable`, `TransactionTimeout`, else `StoreError`. After
    an error the transaction can only be rolled back.
    """

    async def execute(self, sql: str, *parameters: Value) -> int:
        """Run one statement; the number of rows it changed."""
        ...

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """Run one statement; its rows (a SELECT, or a write with RETURNING)."""
        ...

    def at_commit(self, sql: str, *parameters: Value, ordered_by: str | None = None) -> None:
        """Run a statement in the same round trip as the commit, after everything else.

        Among transactions that share an `ordered_by` key, the order of these statements (and so of the rows' sequence
        numbers) is the order of the commits.
        """
        ...

    async def script(self, sql: str) -> None:
        """Run several statements separated by semicolons, without parameters."""
        ...


class Store(Backend, Protocol):
    """One service's own database. Safe to call concurrently."""

    features: ClassVar[StoreFeatures]
    dialect: ClassVar[Dialect]

    def transaction(
        self, *, timeout: float = 30.0, exclusive: bool = False
    ) -> AbstractAsyncContextManager[Transaction]:
        """Begin on entry (or with the first statement), commit on a clean exit, roll back on any exception.

        After `timeout` seconds it is rolled back and `TransactionTimeout` raised. Between `exclusive` transactions
        no other exclusive one runs, in whatever process.
        """
        ...

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """Read committed rows outside any transaction. A statement that writes is refused."""
        ...


class Signals(Protocol):
    """Hints between the processes that use one database; a store with the feature `shared_by_processes` has them.

    A hint may be lost, late or repeated: whoever waits for one looks by itself from time to time.
    """

    async def signal(self, name: str) -> None:
        """Tell the other processes. Returns when it is sent; raises nothing."""
        ...

    def on_signal(self, name: str, heard: Callable[[], None]) -> None:
        """Call `heard` for every hint of that name that another process gives, from `open` on."""
        ...
