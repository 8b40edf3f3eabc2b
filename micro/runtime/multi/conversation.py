"""What the supervisor and one process of a child say to each other, from its start to its last words."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from micro.errors import CallError, ConfigurationError
from micro.runtime.multi.lifeline import LifeLine
from micro.runtime.programs.program import described

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from micro.runtime.programs.process import Process

_LAST = 1.0
"""Seconds for the last words of a process that has ended: what left its group may hold its line for ever."""


class Conversation:
    """`open` it, `hold` it when the process runs, `close` it when that has ended."""

    def __init__(self, name: str, sock: socket.socket, process: Process, *, last: Callable[[], str]) -> None:
        """`last` gives the latest line that the process has written. Owns `sock` from here on."""
        self.process = process
        self._name = name
        self._last = last
        self._news: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._line = LifeLine(sock, hear=lambda *news: self._news.put_nowait(news))
        self._holding: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether the process has let go of the line."""
        return self._holding is None or self._holding.done()

    async def open(self) -> None:
        """Make ready to speak."""
        await self._line.open()

    def hold(self) -> None:
        """Hear the other side from now on."""
        self._holding = asyncio.create_task(self._line.run(), name=f"life line of {self._name}")

    def say(self, what: str, **args: Any) -> None:
        """See `LifeLine.say`."""
        self._line.say(what, **args)

    async def ask(self, verb: str, *, timeout: float | None, **args: Any) -> dict[str, Any]:
        """See `LifeLine.ask`."""
        return await self._line.ask(verb, timeout=timeout, **args)

    async def told(self, what: str, *, to: str, limit: float) -> dict[str, Any]:
        """What the process says next, which is `what`.

        Raises `ConfigurationError` with the reason where it says something else, ends or takes longer `to` do that.
        """
        heard = asyncio.create_task(self._news.get())
        ended = asyncio.create_task(self.process.ended())
        try:
            await asyncio.wait({heard, ended}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if heard.done() and heard.result()[0] == what:
                return heard.result()[1]
            if heard.done():
                reason = str(heard.result()[1].get("error") or "it said something else than expected")
            elif ended.done():
                reason = await self.end()
            else:
                reason = f"{self._name} took longer than {limit:g} s to {to}"
        finally:
            for task in (heard, ended):
                task.cancel()
            await asyncio.gather(heard, ended, return_exceptions=True)
        raise ConfigurationError(reason)

    async def demand(self, verb: str, *, timeout: float | None, **args: Any) -> dict[str, Any]:
        """Ask what has to be answered. Raises `ConfigurationError` with the reason where it isn't, and as `ask` does."""
        try:
            return await self.ask(verb, timeout=timeout, **args)
        except CallError as error:
            reason = f"{self._name}: {error}"
            ended = asyncio.create_task(self.process.ended())
            await asyncio.wait({ended}, timeout=_LAST)
            if ended.done():
                reason = await self.end()
            ended.cancel()
            raise ConfigurationError(reason) from error

    async def end(self) -> str:
        """Wait for the end of the process: how it ended, in its own words where it had some."""
        code = await self.process.ended()
        if self._holding is not None:
            await asyncio.wait({self._holding}, timeout=_LAST)  # what it has said is on the line still
        while not self._news.empty():
            what, args = self._news.get_nowait()
            if what == "failed":
                return str(args["error"])
        last = f": {self._last()}" if self._last() else ""
        return f"{self._name} ended {described(code)}{last}"

    async def close(self) -> None:
        """Let go of the line."""
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        self._line.close()
