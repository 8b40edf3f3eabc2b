"""What all children of one supervisor have in common, and work that they do at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from micro.runtime.multi.forks import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from micro.clock import Clock
    from micro.runtime.multi.children import Child
    from micro.runtime.multi.forks import Forks


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """What all children of one supervisor have in common."""

    clock: Clock
    folder: Path
    """Where they run."""
    env: Mapping[str, str]
    changed: Callable[[Child, str], None]
    """Hears what happened to a child: `spawned`, `started`, `healthy`, `unhealthy`, `stopped`."""
    start: Callable[[], Mapping[str, Any]]
    """What a child is told when it may start (see `micro.runtime.parts.description.Start`), but for its socket."""
    show: Callable[[str], object]
    """Shows a line that a child has logged already."""
    lock: int | None = None
    """A descriptor that each child holds as long as it lives."""
    command: tuple[str, ...] = PROGRAM
    forks: Forks | None = None
    """What runs them sooner than the command does."""


async def together(works: list[Coroutine[Any, Any, None]]) -> None:
    """Await all side by side; raise the first error as soon as it comes, with the others cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
