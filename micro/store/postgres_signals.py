"""Hints between processes by LISTEN and NOTIFY (https://www.postgresql.org/docs/current/sql-notify.html).

NOTIFY takes a lock of the whole server at commit, so none is sent inside anybody's transaction, and a hint that was not
heard costs nobody more than the time to the next look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import asyncpg

from micro.ids import new_id
from micro.store.postgres_errors import DRIVER_ERRORS
from micro.store.postgres_pool import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.clock import Clock
    from micro.store.postgres_pool import Address

logger = logging.getLogger(__name__)

_AGAIN = 1.0
"""Seconds until a broken connection is made anew."""
_PATIENCE = 1.0
"""Seconds that a connection which is being made gets, once it is wanted no more."""
ANSWER_IN = 2.0
"""Seconds for a statement: who gives a hint has better things to do than to wait for a server that is away."""
BEAT = 15.0
"""Seconds between two looks whether the connection still stands: nobody says so when a cable is pulled."""
_SEND = "select pg_notify($1, $2)"


class PostgresSignals:
    """`micro.store.ports.Signals` on a connection of its own, made where somebody wants to hear."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._id = new_id(clock)
        self._heard: dict[str, list[Callable[[], None]]] = {}
        self._connection: Any = None
        self._using = asyncio.Lock()
        self._changed = asyncio.Event()
        """There is a name more to listen to, or no connection any more."""
        self._task: asyncio.Task[None] | None = None
        self._opened = False

    def open(self) -> None:
        """Begin to listen, in the background: nobody waits for it."""
        self._opened = True
        self._begin()

    async def close(self) -> None:
        """Stop. Idempotent."""
        self._opened = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def signal(self, name: str) -> None:
        """See `micro.store.ports.Signals.signal`."""
        with contextlib.suppress(*DRIVER_ERRORS):  # a hint may be lost
            await self._ask(_SEND, self._channel(name), self._id)

    def on_signal(self, name: str, heard: Callable[[], None]) -> None:
        """See `micro.store.ports.Signals.on_signal`."""
        self._heard.setdefault(self._channel(name), []).append(heard)
        self._changed.set()
        self._begin()

    def _begin(self) -> None:
        if self._opened and self._heard and self._task is None:
            self._task = asyncio.create_task(self._listen(), name=f"signals of {self._address.database}")

    async def _listen(self) -> None:
        while True:
            try:
                await self._stay()
            except DRIVER_ERRORS as error:
                logger.debug("%s: no hints for a while: %s", self._address.database, error)
            await self._clock.sleep(_AGAIN)

    async def _stay(self) -> None:
        connection = await self._connect()
        connection.add_termination_listener(lambda _: self._changed.set())
        listening: set[str] = set()
        try:
            while not connection.is_closed():
                self._changed.clear()
                async with self._using:
                    for channel in self._heard.keys() - listening:
                        await connection.add_listener(channel, self._hear)
                        listening.add(channel)
                self._connection = connection
                await self._rest()
        finally:
            self._connection = None
            connection.terminate()

    async def _rest(self) -> None:
        """Wait for something to do, and now and then see whether the connection still stands."""
        try:
            async with asyncio.timeout(BEAT):
                await self._changed.wait()
        except TimeoutError:
            await self._ask("select 1")

    async def _ask(self, statement: str, *values: str) -> None:
        """Run a statement, where there is a connection. One that doesn't answer is given up, and made again."""
        async with self._using:
            connection = self._connection
            if connection is None:
                return
            try:
                await connection.execute(statement, *values)
            except TimeoutError:
                self._connection = None
                connection.terminate()
                raise

    async def _connect(self) -> Any:
        """Connect. Closed meanwhile, it is let finish: the driver complains of what is cancelled half-way."""
        connecting = asyncio.ensure_future(
            asyncpg.connect(self._address.dsn, timeout=CONNECT_TIMEOUT, command_timeout=ANSWER_IN)
        )
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({connecting}, timeout=_PATIENCE)
            connecting.cancel()
            for each in done:
                if not each.exception():
                    each.result().terminate()
            raise

    def _hear(self, _connection: Any, _pid: int, channel: str, sender: str) -> None:
        if sender != self._id:
            for heard in self._heard[channel]:
                heard()

    def _channel(self, name: str) -> str:
        """Channels are the database's: schemas in one database are kept apart here."""
        return f"micro:{self._address.schema or ''}:{name}"
