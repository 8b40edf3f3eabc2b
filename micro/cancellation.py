"""Cancellations that nobody meant."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncancelled(what: str) -> Iterator[None]:
    """Raise `RuntimeError` for a `CancelledError` that came out of what is awaited here, while nobody cancels this task.

    A library that cancels a task of its own and then awaits it lets that out, and whoever looks at our task takes it for
    one that was told to end: a task group, too, which goes on without it and says nothing. `what` begins the sentence.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError(f"{what} was cancelled by something it waited for") from error
