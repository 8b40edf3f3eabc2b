"""What a program writes, line by line and no faster than it can be taken."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from micro.clock import Clock

PACE = 2000
"""Lines that are taken in a second. Whoever writes more has to wait, as its pipe is full."""
LONGEST_LINE = 16_384
"""Bytes; a longer line is cut into several."""
_CHUNK = 4096
_AT_ONCE = 50
"""Lines that are taken before other tasks get their turn."""


class Output:
    """Tells the lines that come out of a pipe. `last` is the latest of them, for a message about the end."""

    def __init__(self, tell: Callable[[str], None], *, clock: Clock) -> None:
        self.last = ""
        self._tell = tell
        self._clock = clock
        self._rest = b""
        self._taken = 0
        self._since = clock.monotonic()

    async def follow(self, pipe: int) -> None:
        """Tell every line until the pipe has no writer any more. Closes it, however this ends."""
        loop = asyncio.get_running_loop()
        stream = asyncio.StreamReader(limit=_CHUNK, loop=loop)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream, loop=loop), os.fdopen(pipe, "rb", 0)
        )
        try:
            while data := await stream.read(_CHUNK):
                await self._take(data)
            if self._rest:
                await self._take(b"\n")
        finally:
            transport.close()

    async def _take(self, data: bytes) -> None:
        for line in self._lines(data):
            self.last = line
            self._tell(line)
            self._taken += 1
            if self._taken % _AT_ONCE == 0:
                await self._clock.sleep(self._excess())

    def _excess(self) -> float:
        """How long to take nothing: 0 while the pace is kept."""
        now = self._clock.monotonic()
        left = self._since + 1.0 - now
        if left > 0 and self._taken < PACE:
            return 0.0
        self._taken = 0
        self._since = now + max(0.0, left)
        return max(0.0, left)

    def _lines(self, data: bytes) -> Iterator[str]:
        """Whole lines, without blank ones."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                yield text
