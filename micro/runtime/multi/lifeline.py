"""The life line between the supervisor and each of its children: JSON lines over a pair of sockets, alike both ways.

    {"say": "ready", "args": {…}}                  heard, not answered
    {"ask": 7, "verb": "health", "args": {…}}      answered, in whatever order, by
    {"answer": 7, "end": {…}}                      or {"answer": 7, "error": {"kind": "usage", "message": "…"}}

The kernel closes an end however its process dies: so the end of the line is the end of whoever held the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import CallError, MicroError, UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    Answer = Callable[..., Awaitable[dict[str, Any]]]
    Hear = Callable[[str, dict[str, Any]], None]

_log = logging.getLogger("micro.runtime.multi.lifeline")

LONGEST_LINE = 1 << 23
"""Bytes of one message."""
_MOST_UNREAD = 1 << 20
"""Bytes that wait for the other side to read them; it is stuck, if it lets it come to more."""


class _Message(msgspec.Struct):
    say: str = ""
    ask: int | None = None
    answer: int | None = None
    verb: str = ""
    args: dict[str, Any] = {}
    end: dict[str, Any] = {}
    error: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Message).decode


class LifeLine:
    """One end. `open` it, keep `run` running; `say` and `ask` never wait for a process that does not read."""

    def __init__(self, sock: socket.socket, *, hear: Hear, verbs: Mapping[str, Answer] | None = None) -> None:
        """`hear` is called with what the other side says, `verbs` answer what it asks. Owns `sock` from here on."""
        self.verbs = dict(verbs or {})
        self._sock = sock
        self._hear = hear
        self._numbers = itertools.count(1)
        self._questions: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Begin to hold the line."""
        self._sock.setblocking(False)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock, limit=LONGEST_LINE)

    async def run(self) -> None:
        """Hear and answer until the other side is gone; then every question of ours fails."""
        try:
            while (line := await self._reader.readline()).endswith(b"\n"):
                self._take(_decode(line))
        except ConnectionError:
            pass  # gone with something of ours unread
        except (ValueError, msgspec.MsgspecError) as error:
            _log.error("the other end of a life line sent what can't be read: %s", error)
        finally:
            self.close()

    def say(self, what: str, **args: Any) -> None:
        """Tell the other side, which may be gone already."""
        with contextlib.suppress(CallError):
            self._send({"say": what, "args": args})

    async def ask(self, verb: str, *, timeout: float | None, **args: Any) -> dict[str, Any]:
        """What the other side answers.

        Raises `CallError` where it is gone, stuck, or silent for `timeout` seconds, and `UsageError` or `MicroError` with
        its own sentence.
        """
        number = next(self._numbers)
        question: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._questions[number] = question
        try:
            self._send({"ask": number, "verb": verb, "args": args})
            async with asyncio.timeout(timeout):
                return await question
        except TimeoutError as error:
            raise CallError(f"{verb}: no answer within {timeout:g} s") from error
        finally:
            del self._questions[number]

    def close(self) -> None:
        """Let go of the line, and of what is being answered. Idempotent."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        for task in self._answering:
            task.cancel()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(CallError("the process is gone"))

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise CallError("the process is gone")
        if self._writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            raise CallError("the process is stuck: it reads nothing")
        self._writer.write(msgspec.json.encode(message) + b"\n")

    def _take(self, message: _Message) -> None:
        if message.say:
            self._hear(message.say, message.args)
        elif message.ask is not None:
            task = asyncio.create_task(self._answer(message.ask, message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif (question := self._questions.get(message.answer or 0)) is not None and not question.done():
            if message.error is None:
                question.set_result(message.end)
            else:
                kind = UsageError if message.error["kind"] == "usage" else MicroError
                question.set_exception(kind(message.error["message"]))

    async def _answer(self, number: int, message: _Message) -> None:
        try:
            answer = self.verbs.get(message.verb)
            if answer is None:
                raise UsageError(f"{message.verb}: this process knows no such verb")  # noqa: TRY301 # one way to refuse
            outcome: dict[str, Any] = {"end": await answer(**message.args)}
        except MicroError as error:
            outcome = {"error": {"kind": _kind(error), "message": str(error)}}
        except Exception as error:  # noqa: BLE001 # whatever it is, the other side waits for an answer
            _log.exception("%s failed", message.verb)
            text = f"{message.verb}: {type(error).__name__}: {error}"
            outcome = {"error": {"kind": "internal", "message": text}}
        with contextlib.suppress(CallError):
            self._send({"answer": number, **outcome})


def _kind(error: MicroError) -> str:
    return "usage" if isinstance(error, UsageError) else "internal"
