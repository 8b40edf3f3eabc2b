"""`up --detach`: the same command again, in a session of its own, with one pipe to say how its start went.

The child forks twice, so it belongs to nobody who could leave it a zombie, and executes Python anew, so it inherits
nothing of this process: no lock, no thread, no terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import MicroError, UsageError
from micro.telemetry.files import rotate

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from pathlib import Path

    from micro.clock import Clock

READY_FD = "MICRO_READY_FD"
"""The environment variable that holds the number of the pipe's file descriptor."""
_LONGEST_MESSAGE = 1 << 20
_ERROR = "error: "
"""How the command line begins the sentence that says why it failed."""
_STDOUT, _STDERR = 1, 2
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_LARGEST = 10_000_000
_LOOK = 10.0
"""Seconds between two looks at how large the output has become."""


def detach(arguments: Sequence[str], *, environ: Mapping[str, str], log: Path) -> dict[str, Any]:
    """Run `python -P -m micro ARGUMENTS` detached, its output appended to `log`; return what it reports when it is ready.

    Raises `UsageError` with the child's own sentence where it refused to start, and `MicroError` with the end of its
    log where it died without one. Nothing runs then. A log that is large already begins anew. Call it before any thread or event loop is started.
    """
    for folder in (log.parent.parent, log.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGEST:
        rotate(log, keep=1)
    ours, theirs = os.pipe()
    output = os.open(log, _APPEND, 0o600)
    start = os.fstat(output).st_size
    child = os.fork()
    if child == 0:
        _become_daemon(
            [sys.executable, "-P", "-m", "micro", *arguments],
            {**environ, READY_FD: str(theirs)},
            (theirs, output),
        )
    os.close(theirs)
    os.close(output)
    os.waitpid(child, 0)
    with os.fdopen(ours, "rb") as pipe:
        line = pipe.readline(_LONGEST_MESSAGE)
    return _read_outcome(line, log, start)


async def keep_small(log: Path, clock: Clock, *, largest: int = _LARGEST) -> None:
    """Begin the file anew, to which stdout and stderr of this process go, whenever it is large; one older file stays.

    What a service prints is in no log of its own, and a detached stack may run for months. Never returns; raises `OSError`.
    """
    while True:
        await clock.sleep(_LOOK)
        if os.fstat(_STDOUT).st_size > largest:
            rotate(log, keep=1)
            output = os.open(log, _APPEND, 0o600)
            for number in (_STDOUT, _STDERR):
                os.dup2(output, number)
            os.close(output)


def _read_outcome(line: bytes, log: Path, start: int) -> dict[str, Any]:
    if not line:
        raise MicroError(f"the stack ended before it was ready: {_last_words(log, start)} (see {log})")
    outcome: dict[str, Any] = msgspec.json.decode(line)
    if "error" in outcome:
        raise UsageError(outcome["error"])
    return outcome


def _last_words(log: Path, start: int) -> str:
    """What the child said in this run: its error, else its last line."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read()[-4000:].decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
    return (errors or said or ["without a word"])[-1]


def _become_daemon(
    command: list[str], environ: dict[str, str], keep: tuple[int, int]
) -> None:  # pragma: no cover
    """In the forked child: leave the terminal, fork again, execute. Never returns.

    Coverage can't see it: the process is replaced before it could write its data.
    """
    ready, output = keep
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, _STDOUT), (output, _STDERR)):
            os.dup2(source, target)
        os.set_inheritable(ready, True)
        os.execve(command[0], command, environ)  # noqa: S606 - this very program, no shell
    finally:
        os._exit(127)


class Announcement:
    """The child's side: says once how the start went, to whoever waits for it. Does nothing where nobody does."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        number = environ.pop(READY_FD, "")
        self._pipe: int | None = int(number) if number.isdecimal() else None
        if self._pipe is not None:
            os.set_inheritable(self._pipe, False)
        self.awaited = self._pipe is not None
        """Whether this process was detached: its output goes to a file."""

    def ready(self, report: Mapping[str, Any]) -> None:
        """The stack answers; `report` says where."""
        self._say(report)

    def failed(self, message: str) -> None:
        """The stack refused to start, in one sentence."""
        self._say({"error": message})

    def _say(self, message: Mapping[str, Any]) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(
                BrokenPipeError
            ):  # whoever waited has gone; the stack is up all the same
                os.write(pipe, msgspec.json.encode(message) + b"\n")
            os.close(pipe)
