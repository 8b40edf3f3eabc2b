"""Forks the processes of a stack from one that has everything imported that they have in common.

    python -P -m micro.runtime.multi.forkserver FD MODULE…

It imports the modules, and what every child needs. FD is a stream socket to the supervisor; each message is an order,
with its descriptors beside it (`SCM_RIGHTS`):

    {"arguments": ["9", "task-1"], "grace": 15.0, "fds": [9, 12]}

Of the descriptors the first two are the line and the output of a launcher (see `micro.runtime.programs.launcher`); the program
gets the others, under the numbers in `fds`. For each order a process is forked that becomes a launcher; what that forks
in turn is `micro.runtime.multi.worker ARGUMENT…`. There are no answers: the launcher says on its line that the program runs,
and where nobody could be forked, the line ends. So a launcher and its program don't depend on the fork server, and end
with the supervisor, whoever is killed first.

Nothing of a user's code is in here, no thread and no event loop: what is forked is as if it were executed, but sooner.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from micro.runtime.multi import worker
from micro.runtime.programs import launcher

_COMMON = (
    "uvloop",
    "encodings.utf_8_sig",
    "resource",
    "uvicorn.lifespan.off",
    "micro.gateway.protocol",
    "micro.gateway.upstream.inquiry",
    "micro.runtime.parts.gateway",
    "micro.runtime.parts.build",
    "micro.runtime.parts.preflight",
    "micro.runtime.remote",
    "micro.runtime.server",
    "micro.runtime.parts.service",
    "micro.web.api",
)
"""What children import, with all that it imports in turn."""
_LONGEST_ORDER = 1 << 16
_MOST_FDS = 8
_BROKEN = 70


class Order(NamedTuple):
    """One process that is to be."""

    arguments: list[str]
    grace: float
    numbers: list[int]
    line: int
    output: int
    handed: list[int]


def main(arguments: list[str]) -> int:
    """Import, then fork what is ordered until the supervisor is gone. Returns the exit code, in each program, too."""
    with socket.socket(fileno=int(arguments[0])) as line:
        line.set_inheritable(False)
        return serve(line) if _load(arguments[1:], line) else 0


def _load(modules: list[str], line: socket.socket) -> bool:
    """Import what children have in common, and these; whether the supervisor still wants any when that is done."""
    end = select.poll()
    end.register(line, 0)
    gc.disable()  # next to nothing of a start is garbage; a child enables it when it is ready
    for name in (*_COMMON, *modules):
        if end.poll(0):
            return False
        with suppress(ImportError):  # a driver that isn't installed: whoever needs it says so
            import_module(name)
    gc.freeze()  # nor is it written to, all over the memory that the processes share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a launcher ended: it has told
    return True


def serve(line: socket.socket) -> int:
    """Fork what is ordered. Returns at the end of the line; in a program that was forked, at its end."""
    while (order := _receive(line)) is not None:
        forked = -1
        with suppress(OSError):  # no room for one more: the line ends, which says so
            forked = os.fork()
        if forked == 0:
            line.close()
            _become(order)
            return worker.main(order.arguments)
        for fd in (order.line, order.output, *order.handed):
            os.close(fd)
    return 0


def _receive(line: socket.socket) -> Order | None:
    """The next order; nothing when there will be none. One whose descriptors did not all arrive is passed over."""
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(line, _LONGEST_ORDER, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        if not data:
            return None
        order: dict[str, Any] = json.loads(data)
        if len(fds) == len(order["fds"]) + 2:
            return Order(order["arguments"], order["grace"], order["fds"], fds[0], fds[1], fds[2:])
        for fd in fds:
            os.close(fd)


def _become(order: Order) -> None:
    """Be the launcher, and end here; or its program, which returns."""
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(order.output, number)
        os.close(order.output)
        alarm = launcher.take_signals()
        child = os.fork()
        if child == 0:
            _leave(order, alarm)
            return
        with suppress(OSError):  # it has done so itself, or has ended
            os.setpgid(child, child)
        for fd in order.handed:
            os.close(fd)
        os._exit(launcher.attend(child, order.line, alarm, order.grace))
    except BaseException:  # noqa: BLE001 # whatever it is: this process is no fork server any more
        traceback.print_exc()
        os._exit(_BROKEN)


def _leave(order: Order, alarm: int) -> None:
    """Have nothing of the launcher's, and all that the program is given."""
    os.setpgid(0, 0)
    launcher.give_signals_back()
    os.close(alarm)
    os.close(order.line)
    _put(order.handed, order.numbers)
    sys.argv = [worker.__file__, *order.arguments]
    with suppress(OSError):  # its name in lists of processes, where the system keeps one there
        Path("/proc/self/comm").write_text(order.arguments[-1])


def _put(fds: list[int], numbers: list[int]) -> None:
    """Move the descriptors to those numbers, which must be free."""
    beyond = max((*fds, *numbers), default=0) + 1
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, beyond) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, number in zip(moved, numbers, strict=True):
        if os.path.exists(f"/proc/self/fd/{number}"):  # noqa: PTH110 # a link, and what it leads to may have no path
            raise FileExistsError(number)
        os.dup2(fd, number)
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
