"""One transaction on a connection of its own."""

from __future__ import annotations

from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from micro.errors import StoreError
from micro.store.postgres_errors import DRIVER_ERRORS
from micro.store.postgres_pool import COMMAND_TIMEOUT, server_limit
from micro.store.postgres_statements import bind, script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.store.ports import Row, Value
    from micro.store.postgres_pool import Pool
    from micro.store.postgres_statements import Bound

_OVER = "the transaction is over"
_BUSY = "another statement of this transaction is still running"
_FAILED = "a statement of this transaction failed; it can only be rolled back"

_LOCK_KEYS = "select pg_advisory_xact_lock(key) from unnest($1::bigint[]) as key"
_LOCK_EXCLUSIVE = "select pg_advisory_xact_lock(7357, coalesce(hashtext(current_schema()), 1))"
"""Of this schema: services that share a database don't wait for each other's migrations.

Locks with two numbers are others than those with one.
"""


class PostgresTransaction:
    """`micro.store.ports.Transaction` on PostgreSQL, made by `PostgresStore.transaction`, which ends it after `timeout`."""

    __slots__ = ("_at_commit", "_begun", "_connection", "_exclusive", "_keys", "_limit", "_pool", "_refusal")

    def __init__(self, pool: Pool, connection: Any, *, timeout: float, exclusive: bool) -> None:
        self._pool = pool
        self._connection = connection
        self._limit = max(timeout, COMMAND_TIMEOUT)
        self._exclusive = exclusive
        self._begun = False
        self._at_commit: list[Bound] = []
        self._keys: set[str] = set()
        self._refusal: str | None = None
        """Why the next statement must be refused."""

    async def execute(self, sql: str, *parameters: Value) -> int:
        """See `micro.store.ports.Transaction.execute`."""
        text, values = self._bind(sql, parameters)
        await self._begin()
        status: str = await self._run(self._connection.execute, text, *values)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() and not status.startswith("SELECT") else 0

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """See `micro.store.ports.Transaction.query`."""
        text, values = self._bind(sql, parameters)
        await self._begin()
        rows: list[Row] = await self._run(self._connection.fetch, text, *values)
        return rows

    async def script(self, sql: str) -> None:
        """See `micro.store.ports.Transaction.script`."""
        self._check()
        text = self._parsed(script, sql)
        await self._begin()
        if text:
            await self._run(self._connection.execute, text)

    def at_commit(self, sql: str, *parameters: Value, ordered_by: str | None = None) -> None:
        """See `micro.store.ports.Transaction.at_commit`.

        A lock of each key's hash is held from just before these statements to the end of the commit. Sorted, so that
        transactions with several keys can't wait for each other in a circle.
        """
        self._at_commit.append(self._bind(sql, parameters))
        if ordered_by is not None:
            self._keys.add(ordered_by)

    async def begin(self) -> None:
        """Enter a transaction that must be alone."""
        if self._exclusive:
            await self._begin()

    async def commit(self) -> None:
        """Run what was kept for the commit, and commit; no round trip where there is nothing to do."""
        self._check()
        if self._at_commit:
            await self._begin()
            if self._keys:
                await self._run(self._connection.execute, _LOCK_KEYS, sorted(map(_hash, self._keys)))
            for text, bound in groupby(self._at_commit, key=itemgetter(0)):
                await self._run(self._connection.executemany, text, [values for _, values in bound])
        if self._begun:
            await self._run(self._connection.execute, "commit")
            self._begun = False

    def end(self) -> None:
        """Refuse what comes later. What is still open is rolled back where the connection is given back.

        A connection whose statement still runs, in a task that was left behind, can't be used by anybody else.
        """
        if self._refusal == _BUSY:
            self._connection.terminate()
        self._refusal = _OVER

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._run(self._connection.execute, "begin")
            if self._limit > COMMAND_TIMEOUT:
                longer = f"set local statement_timeout = '{server_limit(self._limit)}'"
                await self._run(self._connection.execute, longer)
            if self._exclusive:
                await self._run(self._connection.execute, _LOCK_EXCLUSIVE)

    def _check(self) -> None:
        if self._refusal is not None:
            raise StoreError(self._refusal)

    def _bind(self, sql: str, parameters: tuple[Value, ...]) -> Bound:
        self._check()
        return self._parsed(bind, sql, parameters)  # type: ignore[no-any-return] # what `bind` gives

    def _parsed(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except StoreError:
            self._refusal = _FAILED
            raise

    async def _run(self, method: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        self._refusal = _BUSY
        try:
            result = await method(*arguments, timeout=self._limit)
        except DRIVER_ERRORS as error:
            self._refusal = _FAILED
            raise self._pool.translated(error) from error
        except BaseException:
            self._refusal = _FAILED
            raise
        self._refusal = None
        return result


def _hash(key: str) -> int:
    """64 bits, signed: the same in every process."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
