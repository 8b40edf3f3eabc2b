"""Runs one program for as long as somebody holds the other end of a socket: a program of its own, between micro and it.

    launcher.py FD[,FD…] GRACE PROGRAM [ARGUMENT…]

The kernel closes the other end however micro dies, kill -9 included, on Linux and on macOS: so nothing that micro started
outlives it. The first FD is a stream socket; further ones are the program's alone: closed here once it runs. What is
written there:

- by the launcher, a line with the program's process id, which is also its group's; 0 where it could not be executed. At
  the end of all, a line with the exit code: the program's, and 128 + n where signal n ended it; OVERDUE more where the
  program had not ended when GRACE was over;
- by micro, "t" to end the group: SIGTERM, and SIGKILL after GRACE seconds; "k" for SIGKILL at once. The end of the stream
  says the same as "t".

When the program has ended, what it left in its group is ended too. The launcher ends with the program's exit code.
This file is run by itself, without micro and without `site`, so that it is there in some milliseconds: the standard
library's smallest modules only. `micro.runtime.multi.forkserver` has the same done by a process that it forks.
"""

from __future__ import annotations

import os
import select
import signal
import sys

END, KILL = b"t", b"k"
CANNOT_RUN = 127
"""The exit code of what never was a program."""
OVERDUE = 256
"""Above every exit code."""
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_OURS = (*_STOPS, signal.SIGCHLD, signal.SIGALRM)
_IGNORED_BY_PYTHON = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
_LOOK = 0.02
"""Seconds between two looks at a group whose first process has ended."""


def main(arguments: list[str]) -> int:
    """Run the program to its end; the exit code, as a shell counts it."""
    given, *handed = map(int, arguments[0].split(","))
    grace, command = float(arguments[1]), arguments[2:]
    line = os.dup(given)  # not inherited by the program, and a small number: select() takes none from 1024 on
    os.close(given)
    alarm = take_signals()
    try:
        child = os.posix_spawnp(
            command[0], command, os.environ, setpgroup=0, setsigmask=(), setsigdef=_IGNORED_BY_PYTHON
        )
    except OSError as error:
        os.write(2, f"can't run {command[0]}: {error.strerror}\n".encode())
        _tell(line, 0)
        _tell(line, CANNOT_RUN)
        return CANNOT_RUN
    for each in handed:
        os.close(each)
    return attend(child, line, alarm, grace)


def attend(child: int, line: int, alarm: int, grace: float) -> int:
    """Hold a child that leads a group until all of that has ended, and tell of it; the exit code.

    `alarm` is what `take_signals` gave, before the child was there.
    """
    _tell(line, child)
    watch = _Watch(child, line, alarm, grace)
    code = watch.run()
    code = code if code >= 0 else 128 - code
    _tell(line, code + OVERDUE if watch.overdue else code)
    return code


def take_signals() -> int:
    """A descriptor that gives the number of each signal as it comes."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _OURS:
        signal.signal(number, lambda *_: None)  # a handler, where "ignore" would be inherited by the program
    return reading


def give_signals_back() -> None:
    """In a child that is forked after `take_signals`: whatever it did is undone."""
    os.close(signal.set_wakeup_fd(-1))
    for number in _OURS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Watch:
    """A program that runs, until it and its group have ended."""

    def __init__(self, child: int, line: int, alarm: int, grace: float) -> None:
        self.overdue = False
        self._child = child
        self._sources = [line, alarm]
        self._line, self._alarm = line, alarm
        self._grace = grace
        self._code: int | None = None
        self._ending = False
        self._killed = False

    def run(self) -> int:
        """Returns the program's exit code, negative for a signal."""
        while self._code is None or self._leaves_some():
            ready, _, _ = select.select(self._sources, (), (), None if self._code is None else _LOOK)
            if self._line in ready:
                self._heed()
            if self._alarm in ready:
                self._wake(frozenset(os.read(self._alarm, 64)))
        return self._code

    def _leaves_some(self) -> bool:
        """Whether the program, ended itself, left others in its group that end now."""
        self._end()
        return not self._killed and self._signal(0)

    def _heed(self) -> None:
        try:
            order = os.read(self._line, 64)
        except ConnectionResetError:  # the other end went away with bytes of ours unread
            order = b""
        if not order:
            self._sources.remove(self._line)
        if KILL in order:
            self._kill()
        else:
            self._end()

    def _wake(self, numbers: frozenset[int]) -> None:
        if signal.SIGCHLD in numbers and self._code is None:
            pid, status = os.waitpid(self._child, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        if signal.SIGALRM in numbers:
            self.overdue = self._code is None
            self._kill()
        if numbers & _STOPS:
            self._end()

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._signal(signal.SIGTERM)
            # A timer of 0 would be none at all.
            signal.setitimer(signal.ITIMER_REAL, max(self._grace, 0.001))

    def _kill(self) -> None:
        self._ending = self._killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Send to the whole group; whether there is one still."""
        try:
            os.killpg(self._child, number)
        except OSError:
            return False
        return True


def _tell(line: int, number: int) -> None:
    try:
        os.write(line, b"%d\n" % number)
    except OSError:
        return  # nobody is there any more; the end of the other half says the same


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
