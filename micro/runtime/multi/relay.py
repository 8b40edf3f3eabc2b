"""Verbs that need the services' code and databases: done by a helper process, which the first of them starts.

So the supervisor has none of that code in it, and the helper has what the stack has: its settings, its environment.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import CallError, MicroError, UsageError
from micro.runtime.client import LONGEST_ANSWER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from micro.runtime.control import Verb
    from micro.runtime.multi.children import Child

STREAMS = frozenset({"events.list", "events.tail", "dlq.list"})
"""The verbs that answer item by item."""
ANSWERS = frozenset(
    {
        *("events.publish", "events.stats", "events.trace", "events.replay"),
        *("dlq.inspect", "dlq.replay", "dlq.skip", "dlq.purge"),
        *("db.migrate", "db.status", "db.query"),
    }
)
"""Those that answer once."""


class Relay:
    """Passes verbs on to the control socket of a helper."""

    def __init__(self, helper: Callable[[], Child], path: Path) -> None:
        """`helper` makes the child that listens at `path` once it is ready."""
        self._make = helper
        self._path = path
        self._starting = asyncio.Lock()
        self.helper: Child | None = None
        self._keeping: asyncio.Task[None] | None = None

    def verbs(self) -> dict[str, Verb]:
        """All of them, for a control socket."""
        answers: dict[str, Verb] = {name: partial(self._answer, name) for name in ANSWERS}
        return answers | {name: partial(self._stream, name) for name in STREAMS}

    async def stop(self) -> None:
        """End the helper, as soon as what it does is finished. Idempotent."""
        if self.helper is not None:
            await self.helper.stop()
        await self._let_go()

    async def kill(self) -> None:
        """End it at once. Idempotent."""
        if self.helper is not None:
            await self.helper.kill()
        await self._let_go()

    async def _let_go(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        self._path.unlink(missing_ok=True)

    async def _answer(self, verb: str, **args: Any) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        async for message in self._messages(verb, args):
            answer = message.get("end", answer)
        return answer

    async def _stream(self, verb: str, **args: Any) -> AsyncIterator[dict[str, Any]]:
        async for message in self._messages(verb, args):
            if "item" in message:
                yield message["item"]

    async def _messages(self, verb: str, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Every line of the answer. Raises what the helper refuses."""
        await self._ready()
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=LONGEST_ANSWER)
        except OSError as error:
            raise CallError(
                f"{verb}: the process that does it is being started again; see: micro logs"
            ) from error
        try:
            writer.write(msgspec.json.encode({"verb": verb, "args": args}) + b"\n")
            while line := await reader.readline():
                message: dict[str, Any] = msgspec.json.decode(line)
                if "error" in message:
                    kind = UsageError if message["error"]["kind"] == "usage" else MicroError
                    raise kind(message["error"]["message"])
                yield message
                if "end" in message:
                    return
            raise CallError(f"{verb}: the process that does it ended before it had answered")
        finally:
            writer.close()

    async def _ready(self) -> None:
        async with self._starting:
            if self.helper is None:
                helper = self.helper = self._make()
                try:
                    await helper.start()
                except BaseException:
                    self.helper = None
                    await helper.kill()
                    raise
                self._keeping = asyncio.create_task(helper.run(), name=f"instance {helper.name}")
