"""What a runner works with besides what it runs, whichever of the two it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from micro.runtime.settings import ALL, Choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.config.read import Config
    from micro.runtime.multi.forks import Forks
    from micro.runtime.report import Report
    from micro.runtime.state import StateFolder
    from micro.runtime.stop import Stop

_log = logging.getLogger("micro.runtime.options")


class Observer(Protocol):
    """Whoever started the stack, and wants to know how it goes."""

    def ready(self, report: Report) -> None:
        """Every port answers."""
        ...

    def stopping(self) -> None:
        """The stack was asked to stop, and drains."""
        ...

    def notice(self, text: str) -> None:
        """Something to show now, such as a reload or why there was none: one short block of lines."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """What a runner works with besides what it runs."""

    folder: StateFolder
    """Held by the caller."""
    observer: Observer
    stop: Stop
    began: float
    """The clock's monotonic time at which the command started."""
    choice: Choice = ALL
    """What of the configuration runs."""
    read: Callable[[], Config] | None = None
    """Reads the configuration again; without it, it is never read again."""
    reload: bool = False
    """Follow edits to the services' code."""
    migrate: bool = False
    """Bring the databases on servers up to date first."""
    tell: Callable[[str], None] = _log.info
    """Takes a line on each server."""
    forks: Forks | None = None
    """What forks processes, where that runs already. Closed by the runner."""
