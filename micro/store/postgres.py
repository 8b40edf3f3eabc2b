"""The store for production: one PostgreSQL database (or schema) per service, used by any number of processes.

Transactions take a connection each, at READ COMMITTED; reads outside of one take a connection that can only read.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import asyncpg

from micro.backend import Checkup
from micro.errors import DatabaseMissing, StoreError, TransactionTimeout
from micro.store.ports import StoreFeatures
from micro.store.postgres_errors import DRIVER_ERRORS
from micro.store.postgres_pool import CONNECT_TIMEOUT, OLDEST, Pool, parse_url, quoted, too_old, translated
from micro.store.postgres_signals import PostgresSignals
from micro.store.postgres_statements import bind
from micro.store.postgres_transaction import PostgresTransaction
from micro.store.sql import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from micro.clock import Clock
    from micro.store.ports import Dialect, Row, Value
    from micro.store.postgres_pool import Address

_FASTER = (asyncpg.DuplicateDatabaseError, asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError)
"""Another process made it in the same moment."""
_GOODBYE = 1.0
"""Seconds that a server gets to hang up."""
_MAINTENANCE = "postgres"
"""The database that every server has."""
_ABOUT = """
select current_setting('server_version') as version, current_schema() is not null as there,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
    current_setting('fsync') = 'on' and current_setting('synchronous_commit') <> 'off' as durable
"""
_DURABLE = "select current_setting('fsync') = 'on' and current_setting('synchronous_commit') <> 'off'"
_READS_ONLY = "query() only reads; write in a transaction"


class PostgresStore:
    """`micro.store.ports.Store` and `Signals` on PostgreSQL 13 or newer.

    For `url`, see `micro.store.postgres_pool.parse_url`.
    """

    features: ClassVar[StoreFeatures] = StoreFeatures(
        concurrent_writers=True, survives_power_loss=True, shared_by_processes=True
    )
    dialect: ClassVar[Dialect] = "postgresql"

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._address = parse_url(url)
        self._writers = Pool(self._address, size=self._address.size, read_only=False)
        self._readers = Pool(self._address, size=max(1, self._address.size // 2), read_only=True)
        self._signals = PostgresSignals(self._address, clock)

    async def provision(self) -> bool:
        """Make the database, and the schema where the URL names one; whether either was missing. Before `open`.

        Raises `StoreUnavailable`, and `StoreError` where the user may not.
        """
        made = await _create_database(self._address)
        if self._address.schema is not None:
            made = await _create_schema(self._address, self._address.schema) or made
        return made

    async def check(self) -> Checkup:
        """What the server is, and whether tables can be made there. Needs no `open`.

        Raises `DatabaseMissing` (the schema, too), `StoreUnavailable` and, for a server that is too old,
        `ConfigurationError`.
        """
        address = self._address
        connection = await _connect(address, None)
        try:
            if connection.get_server_version().major < OLDEST:
                raise too_old(connection)
            row = await connection.fetchrow(_ABOUT)
        except DRIVER_ERRORS as error:
            raise translated(error, address) from error
        finally:
            await _disconnect(connection)
        schema = address.schema or "public"
        if not row["there"]:
            raise DatabaseMissing(
                f"{address.database}: there is no schema {quoted(schema)}; make it with: micro db migrate"
            )
        lacks = "" if row["may_create"] else f"{address.database}: the user may not create tables"
        return Checkup(f"PostgreSQL {row['version'].split()[0]} at {address.database}", lacks, row["durable"])

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`, and `ConfigurationError` for a server that is too old.

        From then on `features` are those of this server, which may have been set up to forget at a power cut.
        """
        try:
            await self._writers.open()
            await self._readers.open()
            [row] = await self.query(_DURABLE)
            self.features = replace(  # type: ignore[misc] # this server's own, in the place of the class's
                self.features, survives_power_loss=bool(row[0])
            )
            self._signals.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect. A transaction still open is rolled back. Idempotent."""
        await self._signals.close()
        await self._writers.close()
        await self._readers.close()

    @asynccontextmanager
    async def transaction(
        self, *, timeout: float = 30.0, exclusive: bool = False
    ) -> AsyncIterator[PostgresTransaction]:
        """See `micro.store.ports.Store.transaction`.

        The limit covers the wait for a connection and the block, not the commit.
        """
        try:
            async with asyncio.timeout(timeout) as limit, self._writers.connection() as connection:
                tx = PostgresTransaction(self._writers, connection, timeout=timeout, exclusive=exclusive)
                try:
                    await tx.begin()
                    yield tx
                    if limit.expired():
                        raise TimeoutError
                    limit.reschedule(None)
                    await tx.commit()
                finally:
                    tx.end()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TransactionTimeout(f"{self._address.database}: rolled back after {timeout:g} s") from error

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """See `micro.store.ports.Store.query`."""
        text, values = bind(sql, parameters)
        if not parse(sql).reads_only:
            raise StoreError(_READS_ONLY)
        async with self._readers.connection() as connection:
            try:
                rows: list[Row] = await connection.fetch(text, *values)
            except asyncpg.ReadOnlySQLTransactionError as error:
                raise StoreError(_READS_ONLY) from error
            except DRIVER_ERRORS as error:
                raise self._readers.translated(error) from error
        return rows

    async def signal(self, name: str) -> None:
        """See `micro.store.ports.Signals.signal`."""
        await self._signals.signal(name)

    def on_signal(self, name: str, heard: Callable[[], None]) -> None:
        """See `micro.store.ports.Signals.on_signal`."""
        self._signals.on_signal(name, heard)


async def _create_database(address: Address) -> bool:
    name = address.database.rpartition("/")[2]
    connection = await _connect(address, _MAINTENANCE)
    try:
        if await connection.fetch("select 1 from pg_database where datname = $1", name):
            return False
        await connection.execute(f"create database {quoted(name)}")
    except _FASTER:
        return False
    except DRIVER_ERRORS as error:
        raise translated(error, address) from error
    finally:
        await _disconnect(connection)
    return True


async def _create_schema(address: Address, schema: str) -> bool:
    connection = await _connect(address, None)
    try:
        if await connection.fetch("select 1 from pg_namespace where nspname = $1", schema):
            return False
        await connection.execute(f"create schema {quoted(schema)}")
    except _FASTER:
        return False
    except DRIVER_ERRORS as error:
        raise translated(error, address) from error
    finally:
        await _disconnect(connection)
    return True


async def _connect(address: Address, database: str | None) -> asyncpg.Connection:
    """A connection to `database` of the same server; to the URL's own where none is named."""
    try:
        return await asyncpg.connect(
            address.dsn, database=database, timeout=CONNECT_TIMEOUT, server_settings=address.settings
        )
    except (*DRIVER_ERRORS, TimeoutError) as error:
        raise translated(error, address) from error


async def _disconnect(connection: asyncpg.Connection) -> None:
    with contextlib.suppress(*DRIVER_ERRORS, TimeoutError):  # it is thrown away in any case
        await connection.close(timeout=_GOODBYE)
