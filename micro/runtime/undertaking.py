"""Work that is finished though whoever asked for it goes away, where half of it is no state to leave."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from micro.errors import MicroError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

_log = logging.getLogger("micro.runtime.undertaking")


class Undertakings:
    """`finish` whatever work is asked for; `close` cancels what is under way, and refuses all that comes after it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over = False

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns. It goes on where the caller is cancelled; that it fails then is logged.

        Raises what it raises, and `MicroError` once this is closed.
        """
        if self._over:
            work.close()
            raise MicroError("the stack stops")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.add_done_callback(_tell)
            raise
        if task.cancelled():
            raise MicroError("the stack stops")
        return task.result()

    async def close(self) -> None:
        """Return when nothing is under way any more. Idempotent."""
        self._over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell(task: asyncio.Task[Any]) -> None:
    """Log why it failed, as nobody else hears of it."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, MicroError):
        _log.error("%s", error)
    elif error is not None:
        _log.error("what was asked for failed", exc_info=error)
