"""Connections to one PostgreSQL database: how they are opened, configured and taken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

import asyncpg

from micro.backend import split_url
from micro.errors import ConfigurationError, StoreUnavailable
from micro.store.postgres_errors import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from micro.errors import StoreError

driver_log = logging.getLogger("asyncpg")

CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 60.0
"""Seconds that one statement may take, in a transaction with a longer limit as long as that."""
_LATER = 5.0
"""Seconds after that, the server ends a statement itself: its client is gone."""
IDLE_IN_TRANSACTION = "120s"
"""After which the server ends a transaction that its client forgot: it would keep rows locked, and dead ones alive."""
GOODBYE = 2.0
"""Seconds for a rollback, or to hang up: who doesn't answer by then is cut off, and the server rolls back by itself."""
OLDEST = 13
"""The least version of the server."""


class Address(NamedTuple):
    """What a profile's URL says."""

    dsn: str
    """For the driver."""
    database: str
    """For messages: server and database, without the password."""
    schema: str | None
    size: int
    """Connections that write; half as many read."""

    @property
    def settings(self) -> dict[str, str]:
        """Of every session: where its tables are."""
        return {"search_path": quoted(self.schema)} if self.schema is not None else {}


def parse_url(url: str) -> Address:
    """Read ``postgresql://user:password@host:port/database?schema=…&pool=10&sslmode=…``. Raises `ConfigurationError`."""
    parts = split_url(url, "store")
    options = dict(parse_qsl(parts.query))
    schema, size = options.pop("schema", None), options.pop("pool", "10")
    name = unquote(parts.path[1:])
    if not name:
        raise ConfigurationError(
            "names no database: write postgresql://user:password@host/{service}", key="store"
        )
    if not size.isdigit() or not 0 < int(size) < 1000:
        raise ConfigurationError(f"pool={size}: write a number of connections, such as 10", key="store")
    dsn = parts._replace(scheme="postgresql", query=urlencode(options)).geturl()
    return Address(dsn, f"{parts.hostname or 'localhost'}:{parts.port or 5432}/{name}", schema, int(size))


class Connection(asyncpg.Connection):  # type: ignore[misc] # the driver is not typed
    """Goes back to its pool without a round trip: nothing here leaves a trace in the session."""

    def get_reset_query(self) -> str:
        """See `asyncpg.Connection.get_reset_query`."""
        return ""


class Pool:
    """Some connections with the same settings."""

    def __init__(self, address: Address, *, size: int, read_only: bool) -> None:
        self._address = address
        self._size = size
        self._settings = {
            **address.settings,
            "application_name": "micro",
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
            "statement_timeout": server_limit(COMMAND_TIMEOUT),
            "default_transaction_read_only": "on" if read_only else "off",
        }
        self._pool: Any = None
        self._using: set[Any] = set()

    async def open(self) -> None:
        """Open the first connection. Raises `StoreUnavailable`."""
        if driver_log.level == logging.NOTSET:
            # That a server is away is raised to whoever asks for it; the driver tells it with a traceback, each second.
            driver_log.setLevel(logging.CRITICAL)
        pool = asyncpg.create_pool(
            self._address.dsn,
            min_size=1,
            max_size=self._size,
            connection_class=Connection,
            init=_prepare,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            server_settings=self._settings,
        )
        try:
            await pool
        except (*DRIVER_ERRORS, TimeoutError) as error:
            raise self.translated(error) from error
        self._pool = pool

    async def close(self) -> None:
        """Close every connection; what is under way ends with an error. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if not self._using:
            with contextlib.suppress(*DRIVER_ERRORS):
                async with asyncio.timeout(GOODBYE):
                    await pool.close()
                    return
        pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for this block; a transaction that is open at its end is rolled back.

        Raises `StoreUnavailable`; the driver's errors inside the block come out as they are.
        """
        if self._pool is None:
            raise StoreUnavailable(f"{self._address.database}: the store is closed")
        pool = self._pool
        try:
            connection = await pool.acquire(timeout=COMMAND_TIMEOUT)
        except (*DRIVER_ERRORS, TimeoutError) as error:
            raise self.translated(error) from error
        self._using.add(connection)
        try:
            yield connection
        finally:
            # On its own, so that no cancellation can leave a connection half given back.
            await asyncio.shield(asyncio.ensure_future(self._give_back(pool, connection)))

    def translated(self, error: Exception) -> StoreError:
        """The error of ours."""
        return translated(error, self._address)

    async def _give_back(self, pool: Any, connection: Any) -> None:
        self._using.discard(connection)
        with contextlib.suppress(asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError):
            # Or the pool was closed meanwhile, or has found it broken, and took it back.
            if connection.is_in_transaction():
                await _roll_back(connection)
            await pool.release(connection, timeout=GOODBYE)


def translated(error: Exception, address: Address) -> StoreError:
    """The error of ours for one of the driver's, or for its silence."""
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{address.database}: no answer in time")
    return translate(error, address.database)


def too_old(connection: Any) -> ConfigurationError:
    """Says which version is needed."""
    found = connection.get_server_version().major
    return ConfigurationError(f"PostgreSQL {found} is too old; {OLDEST} or newer is needed", key="store")


async def _roll_back(connection: Any) -> None:
    """A connection that can't even do that is closed; the pool makes another."""
    try:
        async with asyncio.timeout(GOODBYE):
            await connection.execute("rollback")
    except DRIVER_ERRORS:
        connection.terminate()


async def _prepare(connection: Any) -> None:
    """Results are `str`, `int`, `float`, `bytes` and `None`, whatever PostgreSQL makes of a sum or a comparison."""
    if connection.get_server_version().major < OLDEST:
        raise too_old(connection)
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
    )
    await connection.set_type_codec("bool", schema="pg_catalog", encoder=_bool, decoder=_int, format="text")


def server_limit(seconds: float) -> str:
    """The setting `statement_timeout` where we ourselves wait for so long."""
    return f"{(seconds + _LATER) * 1000:.0f}ms"


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _int(text: str) -> int:
    return int(text == "t")


def _bool(value: object) -> str:
    return "t" if value else "f"
