"""The control socket: how a command in another terminal speaks to the running stack.

JSON lines over a Unix socket. One request a line, answered before the next is read:

    → {"verb": "events.list", "args": {"topic": "task.events"}}
    ← {"item": {…}}          any number
    ← {"end": {…}}           or {"error": {"kind": "usage", "message": "…"}}

A client that goes away cancels what it asked for; a slow one slows its own verb and nothing else. Besides the folder's
permissions, the peer's user id is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import ConfigurationError, MicroError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from pathlib import Path

    Verb = Callable[..., "Awaitable[dict[str, Any]] | AsyncIterator[dict[str, Any]]"]

_log = logging.getLogger("micro.runtime.control")

LONGEST_LINE = 1 << 20
"""Bytes of a request line."""
_HIGH_WATER = 1 << 16
"""Bytes waiting for a slow client before its verb is held."""


class Request(msgspec.Struct):
    """One line from a client."""

    verb: str
    args: dict[str, Any] = {}


class ControlServer:
    """Serves `verbs` on a Unix socket: each a coroutine function (its dict is the end), or an async generator of items.

    Keyword arguments of a verb come from `args`; wrong ones are a usage error.
    """

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self.path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. The caller holds the stack's lock, so a socket file that lies there is a dead one."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(self.path))
            self.path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=LONGEST_LINE)
        except OSError as error:
            listener.close()
            raise ConfigurationError(f"can't listen on {self.path}: {error.strerror}") from error

    async def close(self) -> None:
        """Stop listening and cancel every verb in progress. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if peer_uid(writer.get_extra_info("socket")) in {os.getuid(), 0}:
                await self._serve(reader, writer)
            else:
                _log.warning("refused a control connection of another user")
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the stack stops: nobody is left to tell
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_HIGH_WATER)
        upcoming = asyncio.create_task(_line(reader))
        try:
            while (line := await upcoming) is not None:
                upcoming = asyncio.create_task(_line(reader))
                await self._watched(self._run(line, writer), upcoming)
        except asyncio.LimitOverrunError:
            await _send(writer, _error("usage", f"a request is longer than {LONGEST_LINE} bytes"))
        finally:
            await _cancelled(upcoming)

    async def _watched(self, verb: Coroutine[Any, Any, None], upcoming: asyncio.Task[bytes | None]) -> None:
        """Await `verb`, and cancel it when reading the next line shows that the client has gone."""
        work = asyncio.create_task(verb)
        try:
            await asyncio.wait({work, upcoming}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or _holds_line(upcoming):
                await work
        finally:
            await _cancelled(work)

    async def _run(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(line, type=Request)
            end = await _perform(self._verbs.get(request.verb, _unknown), request, writer)
        except msgspec.DecodeError as error:
            end = _error("usage", f"not a request: {error}")
        except MicroError as error:
            end = _error("usage" if isinstance(error, UsageError) else "internal", str(error))
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - a fault of ours is logged, and the client is told
            _log.exception("a verb failed: %s", line[:200].decode(errors="replace"))
            end = _error("internal", "that failed; see: micro logs")
        await _send(writer, end)


async def _unknown(**args: Any) -> dict[str, Any]:
    raise UsageError("the running stack knows no such verb; it may be of another version of micro")


async def _perform(verb: Verb, request: Request, writer: asyncio.StreamWriter) -> dict[str, Any]:
    try:
        answer = verb(**request.args)
    except TypeError as error:
        raise UsageError(f"{request.verb}: {error}") from error
    if not isinstance(answer, AsyncIterator):
        return {"end": await answer}
    async with contextlib.aclosing(answer) as items:  # type: ignore[type-var] # a verb's iterator is a generator
        async for item in items:
            await _send(writer, {"item": item})
    return {"end": {}}


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(message) + b"\n")
    await writer.drain()


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line, or nothing when the client has closed its side."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        return None


def _holds_line(upcoming: asyncio.Task[bytes | None]) -> bool:
    """Whether the client has already sent its next request, so is still there."""
    return upcoming.exception() is None and upcoming.result() is not None


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message}}


def peer_uid(sock: socket.socket) -> int:
    """The user id of the process at the other end of a Unix socket."""
    if hasattr(socket, "SO_PEERCRED"):  # Linux: struct ucred { pid, uid, gid }
        level, option = socket.SOL_SOCKET, socket.SO_PEERCRED
    else:  # macOS: SOL_LOCAL, LOCAL_PEERCRED: struct xucred { version, uid, … }
        level, option = 0, 1
    _, uid = struct.unpack("2I", sock.getsockopt(level, option, 8))
    return int(uid)
