"""A connection that is sent whole functions: one crossing to its thread and back, however many calls are in it."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import aiosqlite

from micro.errors import StoreUnavailable
from micro.store.sqlite_errors import DRIVER_ERRORS, translate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_T = TypeVar("_T")
_Call: TypeAlias = "tuple[asyncio.Future[Any] | None, Callable[..., Any], tuple[Any, ...]]"
_Outcome: TypeAlias = "tuple[asyncio.Future[Any], Any, BaseException | None]"

_BUSY_SECONDS = 5.0
"""How long to wait for a program outside micro that holds the file."""
_STEPS_BETWEEN_CHECKS = 20_000
"""Instructions of SQLite's machine between looks at whether a statement should go on: about a millisecond's worth."""
_CACHED_STATEMENTS = 256
_PROMPT_SECONDS = 0.002
"""A connection that has answered nothing for this long is busy with something slow."""
_REPORT_SECONDS = 0.001
"""Outcomes wait no longer than this for the rest of their batch."""


class Connection(aiosqlite.Connection):
    """One SQLite connection on a thread of its own. Functions run one after another, in the order they were sent.

    What is sent within one turn of the event loop crosses together: waking a thread costs many times what a small
    statement does. A function whose caller was cancelled is skipped when it has not begun, and its statement is stopped
    when it has. The same happens to one that exceeds `limit` seconds, and to all of them when the connection closes.
    """

    def __init__(self, path: Path, *, pragmas: tuple[str, ...], limit: float | None = None) -> None:
        super().__init__(self._connect_on_thread, iter_chunk_size=64)
        self._thread.daemon = True  # a process that dies without closing must not hang at exit
        self._path = path
        self._pragmas = pragmas
        self._limit = limit
        self._opening: asyncio.Future[Any] | None = None
        self._stopped: asyncio.Future[Any] | None = None
        self._closing = False
        self._batch: list[_Call] = []
        self._pending = 0
        self._answered = 0.0
        self._caller: asyncio.Future[Any] | None = None
        self._deadline = 0.0

    async def open(self) -> None:
        """Start the thread and connect. Once. A cancellation doesn't stop it half-way: `close` waits for its end."""
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.ensure_future(self)
        try:
            await asyncio.shield(self._opening)
        except DRIVER_ERRORS as error:
            raise translate(error, self._path) from error

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """What `function(connection, *arguments)` returns, called on the thread. The driver's errors are translated."""
        if self._closing or self._connection is None:
            raise self._not_open()
        answer: asyncio.Future[_T] = self._loop.create_future()
        if not self._pending:
            self._answered = self._loop.time()
        self._pending += 1
        try:
            self._send(answer, function, arguments)
            return await answer
        except DRIVER_ERRORS as error:
            raise translate(error, self._path) from error
        finally:
            self._pending -= 1

    def post(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Send a function without waiting for it: what is sent later finds it done. Nothing happens once closed."""
        if not self._closing and self._connection is not None:
            self._send(None, function, arguments)

    async def close(self) -> None:
        """Stop what runs, refuse what waits, close the connection and end the thread. Idempotent."""
        self._closing = True
        self._flush()
        if self._opening is not None:  # `open` has said how that ended, unless it was cancelled
            await asyncio.gather(self._opening, return_exceptions=True)
        await super().close()
        if self._stopped is not None:
            await asyncio.wait([self._stopped])

    def stop(self) -> asyncio.Future[Any] | None:
        """Called by the base class, also where connecting failed: keeps what tells that the thread has ended."""
        self._stopped = super().stop()
        return self._stopped

    @property
    def pending(self) -> int:
        """How many callers wait for an answer."""
        return self._pending

    def is_prompt(self) -> bool:
        """Whether nothing waits, or an answer came a moment ago."""
        return not self._pending or self._loop.time() - self._answered < _PROMPT_SECONDS

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path} is not open")

    def _send(
        self, answer: asyncio.Future[Any] | None, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append((answer, function, arguments))

    def _flush(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._tx.put_nowait((None, partial(self._work_on_thread, batch)))

    def _deliver(self, outcomes: list[_Outcome]) -> None:
        self._answered = self._loop.time()
        for answer, result, error in outcomes:
            if answer.done():
                continue
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

    def _connect_on_thread(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=_BUSY_SECONDS, cached_statements=_CACHED_STATEMENTS
        )
        try:
            connection.row_factory = sqlite3.Row
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.set_progress_handler(self._should_stop, _STEPS_BETWEEN_CHECKS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _work_on_thread(self, batch: list[_Call]) -> None:
        outcomes: list[_Outcome] = []
        reported = now = self._loop.time()
        for answer, function, arguments in batch:
            self._caller = answer
            if self._limit is not None:
                self._deadline = now + self._limit
            outcome = self._outcome(answer, function, arguments)
            if answer is not None:
                outcomes.append((answer, *outcome))
            now = self._loop.time()
            if outcomes and now - reported > _REPORT_SECONDS:
                self._loop.call_soon_threadsafe(self._deliver, outcomes)
                outcomes, reported = [], now
        if outcomes:
            self._loop.call_soon_threadsafe(self._deliver, outcomes)

    def _outcome(
        self, answer: asyncio.Future[Any] | None, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> tuple[Any, BaseException | None]:
        if answer is not None:
            if answer.cancelled():
                return None, None
            if self._closing:
                return None, self._not_open()
        try:
            return function(self._conn, *arguments), None
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            return None, error

    def _should_stop(self) -> bool:
        """Called by SQLite on the thread, in the middle of a statement."""
        caller = self._caller
        if caller is None:
            return False
        overdue = self._limit is not None and self._loop.time() > self._deadline
        return overdue or self._closing or caller.cancelled()
