"""What goes on in a stack, for the terminal that it was started in: the same that `events tail` and the access log show.

Nothing in the stack knows of it, so a stack without a terminal pays nothing for it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from micro.runtime.client import LONGEST_ANSWER, find_stack
from micro.telemetry.reader import LogQuery, follow_logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from micro.clock import Clock

    Show = Callable[[dict[str, Any]], None]


async def show_events(state: Path, show: Show) -> None:
    """Show every event that is published from now on, until the stack closes its control socket."""
    path = find_stack(state).socket
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_ANSWER)
    try:
        writer.write(b'{"verb": "events.tail", "args": {"follow": true, "limit": 0}}\n')
        while line := await reader.readline():
            message = json.loads(line)
            if "item" in message:
                show(message["item"])
    except ConnectionError:
        return  # the stack stops
    finally:
        writer.close()


async def show_requests(state: Path, show: Show, clock: Clock) -> None:
    """Show every request that the gateway answers from now on. Never returns."""
    query = LogQuery(folder=state / "logs", services=("access",), since=clock.now())
    async with aclosing(follow_logs(query, clock)) as records:
        async for record in records:
            show(record)
