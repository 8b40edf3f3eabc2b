"""Asked to stop, asked again: signals and verbs as two events that the runner waits for."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """`asked` is set by the first request to stop, `hurried` by the second. A third signal has its default effect.

    Use it as a context manager in the loop's own thread: it takes SIGINT and SIGTERM, and gives them back.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Ask to stop; once more, and it is a hurry."""
        if not self.asked.is_set():
            self.asked.set()
            return
        self.hurried.set()
        self._give_back()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.ask)
        return self

    def __exit__(self, *exception: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def completes(work: Coroutine[Any, Any, object], *, unless: asyncio.Event) -> bool:
    """Await `work`, but cancel it as soon as `unless` is set. Whether it was completed; raises what it raises."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(unless.wait())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        await task
        return True
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
