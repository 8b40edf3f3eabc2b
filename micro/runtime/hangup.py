"""SIGHUP: read the configuration again, as daemons do. It also tells that a terminal was closed, and then it is the end.

Which of the two it was, the terminal knows: one that a process had when it started can't be opened any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_TERMINAL = "/dev/tty"


def has_terminal() -> bool:
    """Whether this process has a terminal, and it is still there."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


class Hangup:
    """Takes SIGHUP while it is open, in the loop of the process's main thread; a context manager.

    `reload` is called for a signal from somebody. It may be set when there is something to reload: until then such a
    signal is nobody's.
    """

    def __init__(
        self,
        *,
        reload: Callable[[], None] | None = None,
        stop: Callable[[], None],
        terminal: Callable[[], bool] = has_terminal,
    ) -> None:
        """`stop` is called for a signal that came with the terminal's end."""
        self.reload = reload
        self._stop = stop
        self._terminal = terminal
        self._had_terminal = terminal()

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._take)
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    def _take(self) -> None:
        if self._had_terminal and not self._terminal():
            self._stop()
        elif self.reload is not None:
            self.reload()
