"""What every back end of every port has in common."""

from __future__ import annotations

from typing import Protocol


class Backend(Protocol):
    """Construct, open, close are three steps.

    A constructor only keeps its arguments. `open` may be called once. `close` may be called at any time, more than once
    and after an `open` that failed half-way; it leaves no thread, task, file or connection behind.
    """

    async def open(self) -> None:
        """Acquire what is needed; on an error nothing stays acquired once `close` was called."""
        ...

    async def close(self) -> None:
        """Release everything. Idempotent. Calls in flight fail with the port's error."""
        ...
