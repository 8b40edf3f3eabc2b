"""How a command in another terminal speaks to the running stack: the other end of `micro.runtime.control`.

Synchronous, and the standard library only, because a command asks once and ends: an event loop and its imports would cost
more than the answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from micro.errors import CallError, MicroError, StackNotRunning, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

Each: TypeAlias = "Callable[[dict[str, Any]], object]"
"""What to do with one item of an answer."""

CONNECT_TIMEOUT = 2.0
"""Seconds. The socket is on this machine: a stack that does not accept by then is stuck."""
ANSWER_TIMEOUT = 30.0
"""Seconds between two lines of an answer, unless the caller says otherwise."""
LONGEST_ANSWER = 1 << 26
"""Bytes of one line of an answer; a longer one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStack:
    """What `run.json` in the state folder says about the stack that runs there."""

    pid: int
    socket: str
    stack: str = ""
    profile: str = ""
    started_at: str = ""
    gateway: str = ""
    """`http://host:port`."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Per service, the base URL of its own port."""
    infra: Sequence[str] = ()
    """The keys of its profile whose servers are those of `micro infra`."""

    def ask(
        self,
        verb: str,
        args: Mapping[str, Any],
        *,
        each: Each | None = None,
        timeout: float | None = ANSWER_TIMEOUT,
    ) -> dict[str, Any]:
        """Ask for one verb: `each` is called with every item as it comes; returned is what ends the answer.

        `timeout` is the longest silence in seconds, `None` for ever. An exception of `each` cancels the verb in the stack.
        Raises `StackNotRunning` where nobody listens, `UsageError` or `MicroError` with the stack's own sentence, and
        `CallError` where the answer is late or breaks off.
        """
        with _connect(self) as connection, connection.makefile("rb") as lines:
            connection.settimeout(timeout)
            try:
                connection.sendall(json.dumps({"verb": verb, "args": dict(args)}).encode() + b"\n")
                message = _line(lines)
                while "end" not in message:
                    if "error" in message:
                        raise _refusal(message["error"])
                    if each is not None:
                        each(message["item"])
                    message = _line(lines)
            except TimeoutError as error:
                raise CallError(
                    f"{verb}: the stack said nothing for {timeout:g} s; see: micro logs"
                ) from error
            except ConnectionError as error:
                raise CallError(f"{verb}: the stack stopped before it had answered") from error
            return dict(message["end"])

    def listens(self) -> bool:
        """Whether somebody accepts connections on the control socket."""
        try:
            _connect(self).close()
        except StackNotRunning:
            return False
        return True


def find_stack(state: Path) -> RunningStack:
    """The stack whose state folder is `state`. Raises `StackNotRunning`, naming the command that starts one."""
    try:
        record = json.loads((state / "run.json").read_bytes())
        stack = RunningStack(**{name: record[name] for name in RunningStack.__slots__ if name in record})
    except (OSError, ValueError, TypeError) as error:
        raise StackNotRunning(f"no stack is running in {state.parent}; start one with: micro up") from error
    if not stack.listens():  # a killed stack leaves its record behind
        raise StackNotRunning(f"no stack is running in {state.parent} any more; start it with: micro up")
    return stack


def holder(state: Path) -> int | None:
    """The process that holds the state folder, as one does that runs a stack there or starts one. None where nobody does."""
    with contextlib.suppress(FileNotFoundError, ValueError), (state / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read(32))
    return None


def wait_until_stopped(state: Path, timeout: float) -> bool:
    """Return whether the stack's process let go of its state folder within `timeout` seconds, however it ended.

    Waits for its lock, which the kernel drops with the process.
    """

    def wait() -> None:
        with contextlib.suppress(FileNotFoundError), (state / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    waiter.join(timeout)
    return not waiter.is_alive()


def _connect(stack: RunningStack) -> socket.socket:
    with contextlib.ExitStack() as undo:
        connection = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connection.settimeout(CONNECT_TIMEOUT)
        try:
            # The name of a dead socket under a shared temporary folder is free for anyone to take.
            if Path(stack.socket).lstat().st_uid not in {os.getuid(), 0}:
                raise PermissionError("the socket is another user's")
            connection.connect(stack.socket)
        except (TimeoutError, BlockingIOError) as error:  # a full queue is EAGAIN on a Unix socket
            raise CallError(f"the stack (process {stack.pid}) accepts no connection; is it stuck?") from error
        except OSError as error:
            raise StackNotRunning("the stack is not running; start it with: micro up") from error
        undo.pop_all()
        return connection


def _line(lines: BinaryIO) -> dict[str, Any]:
    line = lines.readline(LONGEST_ANSWER)
    if not line:
        raise ConnectionResetError("closed in the middle of an answer")
    try:
        message = json.loads(line)
    except ValueError as error:
        raise CallError("the running stack sent something that is no answer") from error
    if not isinstance(message, dict) or not message.keys() & {"item", "end", "error"}:
        raise CallError("the running stack sent something that is no answer")
    return message


def _refusal(error: Mapping[str, Any]) -> MicroError:
    """What the stack refused, as the exception that the same verb raises in this process."""
    kind = UsageError if error.get("kind") == "usage" else MicroError
    return kind(str(error.get("message", "the stack refused without a reason")))
