"""The store for development: one SQLite file per service, one process per file.

Transactions queue for the one connection that writes, first come, first served; reads run beside them, the short ones
(a look-up by key) on the event loop itself, since waking a thread costs several times as much. A transaction crosses to the connection's thread once per statement and once for the commit: BEGIN travels with the first statement,
the statements of `at_commit` with COMMIT.

SQLite is laxer than PostgreSQL. Values are checked here (see `micro.store.sql.check_parameters`); columns are strict
only in ``STRICT`` tables, and even those turn ``"7"`` into 7 in an INTEGER column.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from micro.errors import ConfigurationError, StoreError, TransactionTimeout
from micro.store.ports import StoreFeatures
from micro.store.sql import parse
from micro.store.sqlite_errors import is_refused_write
from micro.store.sqlite_file import SqliteFile
from micro.store.sqlite_statements import bind
from micro.store.sqlite_transaction import SqliteTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from micro.clock import Clock
    from micro.store.ports import Dialect, Row, Value

_READERS = 2
_READS_ONLY = "query() only reads; write in a transaction"


class SqliteStore:
    """`micro.store.ports.Store` on SQLite. `url` is ``sqlite:PATH``; the path may be relative to the current folder.

    A transaction inside another one of the same task would wait for itself; it is refused with `StoreError`.
    `clock` is part of every backend's constructor; nothing here depends on the time of day.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(
        concurrent_writers=False, survives_power_loss=False, shared_by_processes=False
    )
    dialect: ClassVar[Dialect] = "sqlite"

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._file = SqliteFile(_path(url), readers=_READERS)
        self._queue = asyncio.Lock()
        self._writing: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        """Lock the file and connect. See `micro.store.sqlite_file.SqliteFile.open`."""
        await self._file.open()

    async def close(self) -> None:
        """Close the connections and give the lock back. A transaction still open is rolled back. Idempotent."""
        await self._file.close()

    @asynccontextmanager
    async def transaction(
        self, *, timeout: float = 30.0, exclusive: bool = False
    ) -> AsyncIterator[SqliteTransaction]:
        """See `micro.store.ports.Store.transaction`. Every transaction is an exclusive one on SQLite.

        The limit covers the wait in the queue and the block, not the commit: one that has begun is carried out and
        never called a timeout.
        """
        if self._writing is not None and self._writing is asyncio.current_task():
            raise StoreError("a transaction inside a transaction: end the outer one first")
        try:
            async with asyncio.timeout(timeout) as limit, self._queue:
                self._writing = asyncio.current_task()
                tx = SqliteTransaction(self._file)
                try:
                    yield tx
                    if limit.expired():
                        raise TimeoutError
                    limit.reschedule(None)
                    await tx.commit()
                finally:
                    tx.end()
                    self._writing = None
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TransactionTimeout(f"{self._file.path}: rolled back after {timeout:g} s") from error

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """See `micro.store.ports.Store.query`. Raises `StoreUnavailable` after 30 seconds."""
        text, values = bind(sql, parameters)
        if not parse(sql).reads_only:
            raise StoreError(_READS_ONLY)
        try:
            return await self._file.fetch(text, values)
        except StoreError as error:
            if is_refused_write(error.__cause__):
                raise StoreError(_READS_ONLY) from error.__cause__
            raise


def _path(url: str) -> Path:
    path = url.removeprefix("sqlite:")
    if path == url or path in {"", ":memory:"}:
        raise ConfigurationError(f"{url!r}: write sqlite:PATH, one file per service", key="store")
    return Path(path)
