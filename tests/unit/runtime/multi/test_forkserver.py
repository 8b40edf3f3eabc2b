"""What a fork server does with an order, step by step. What comes of it as a whole is seen in test_forks.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from micro.runtime.multi import forkserver as module
from micro.runtime.multi.forks import LINUX
from micro.runtime.multi.forkserver import Order, serve
from micro.runtime.programs import launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not LINUX, reason="there is none elsewhere")


class Ended(BaseException):
    """Instead of the end of this process."""


class Bench:
    """The supervisor's end of a line, and files to hand over."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.pipes = [os.pipe() for _ in range(3)]

    @property
    def files(self) -> list[int]:
        return [writing for _, writing in self.pipes]

    def order(self, *, fds: int = 3, **changes: Any) -> None:
        text = {"arguments": ["9", "shop-1"], "grace": 1.0, "fds": [250], **changes}
        socket.send_fds(self.ours, [json.dumps(text).encode()], self.files[:fds])

    def is_closed_elsewhere(self, at: int) -> bool:
        """Whether nobody holds a copy of that file any more."""
        reading, writing = self.pipes[at]
        os.close(writing)
        os.set_blocking(reading, False)
        try:
            return os.read(reading, 1) == b""
        except BlockingIOError:
            return False
        finally:
            self.pipes[at] = (reading, os.dup(reading))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.ours.close()
    made.theirs.close()
    for pipe in made.pipes:
        for fd in pipe:
            os.close(fd)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What forks give, the first first; the last one stays."""
    gives: list[Any] = [4711]

    def fork() -> int:
        given = gives.pop(0) if len(gives) > 1 else gives[0]
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(os, "fork", fork)
    return gives


def test_it_forks_once_for_each_order_keeps_no_file_and_ends_with_the_line(
    bench: Bench, forked: list[Any]
) -> None:
    bench.order()
    bench.ours.shutdown(socket.SHUT_WR)
    assert serve(bench.theirs) == 0
    assert all(bench.is_closed_elsewhere(at) for at in range(3))


def test_it_imports_nothing_for_a_supervisor_that_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stack that was ended at its start leaves is gone in a moment."""
    imported: list[str] = []

    def load(name: str) -> None:
        imported.append(name)
        bench.ours.close()

    monkeypatch.setattr(module, "import_module", load)
    monkeypatch.setattr(module.gc, "disable", lambda: None)
    assert module.main([str(bench.theirs.detach())]) == 0
    assert imported == [module._COMMON[0]]


def test_one_that_cannot_be_forked_is_let_go_so_that_its_line_ends(bench: Bench, forked: list[Any]) -> None:
    forked[:] = [BlockingIOError("no more processes"), 4711]
    bench.order()
    bench.order()
    bench.ours.close()
    assert serve(bench.theirs) == 0
    assert bench.is_closed_elsewhere(0)


def test_an_order_whose_files_are_missing_is_passed_over(bench: Bench, forked: list[Any]) -> None:
    forked[:] = [AssertionError("nothing is to be forked")]
    bench.order(fds=2)
    bench.ours.shutdown(socket.SHUT_WR)
    assert serve(bench.theirs) == 0
    assert bench.is_closed_elsewhere(0)


def test_in_the_forked_process_the_line_is_closed_and_the_program_runs(
    bench: Bench, forked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forked[:] = [0]
    become: list[Order] = []
    monkeypatch.setattr(module, "_become", become.append)
    monkeypatch.setattr(module.worker, "main", len)
    bench.order()
    assert serve(bench.theirs) == 2, "the exit code is the program's"
    assert bench.theirs.fileno() == -1
    assert become[0].arguments == ["9", "shop-1"]
    for fd in (become[0].line, become[0].output, *become[0].handed):
        os.close(fd)


@pytest.fixture
def order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Order]:
    """One that this process may take for its own."""
    stdout = [os.dup(number) for number in (1, 2)]
    before = {number: signal.getsignal(number) for number in launcher._OURS}
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "setpgid", lambda *_: None)
    monkeypatch.setattr(sys, "argv", [])

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    line, output, handed = (os.dup(fd) for fd in bench.files)
    yield Order(["9", "shop-1"], 1.0, [250], line, output, [handed])
    for number, saved in zip((1, 2), stdout, strict=True):
        os.dup2(saved, number)
        os.close(saved)
    for number, handler in before.items():
        signal.signal(number, handler)
    wakeup = signal.set_wakeup_fd(-1)
    if wakeup >= 0:
        os.close(wakeup)


def test_the_launcher_lets_go_of_what_is_the_programs_attends_to_it_and_ends(
    bench: Bench, forked: list[Any], order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    attended: list[Any] = []

    def attend(child: int, line: int, alarm: int, grace: float) -> int:
        attended.append((child, line, grace))
        os.close(line)
        os.close(alarm)
        return 7

    monkeypatch.setattr(launcher, "attend", attend)
    with pytest.raises(Ended) as ended:
        module._become(order)
    assert attended == [(4711, order.line, 1.0)]
    assert ended.value.args in {(7,), (module._BROKEN,)}
    assert bench.is_closed_elsewhere(2)


def test_the_program_has_its_files_and_nothing_of_the_launchers(
    bench: Bench, forked: list[Any], order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked[:] = [0]
    monkeypatch.setattr(module.Path, "write_text", lambda *_: 0)
    module._become(order)
    try:
        assert os.fstat(250).st_ino == os.fstat(bench.files[2]).st_ino
        assert os.fstat(1).st_ino == os.fstat(2).st_ino == os.fstat(bench.files[1]).st_ino
        assert bench.is_closed_elsewhere(0), "the line is the launcher's"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, "it may have children of its own"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.set_wakeup_fd(-1) == -1
        assert sys.argv[1:] == ["9", "shop-1"]
    finally:
        os.close(250)


def test_where_it_cannot_become_either_it_ends_at_once(
    forked: list[Any], order: Order, capfd: pytest.CaptureFixture[str]
) -> None:
    forked[:] = [BlockingIOError("no more processes")]
    with pytest.raises(Ended, match=str(module._BROKEN)):
        module._become(order)
    os.close(order.line)
    os.close(order.handed[0])


def test_a_number_that_is_taken_is_refused_rather_than_overwritten(bench: Bench) -> None:
    taken = bench.files[0]
    handed = os.dup(bench.files[1])
    with pytest.raises(FileExistsError):
        module._put([handed], [taken])
    assert os.fstat(taken).st_ino == os.fstat(bench.files[0]).st_ino
    assert bench.is_closed_elsewhere(2)


def test_files_change_places_where_their_numbers_are_each_others() -> None:
    pipes = [os.pipe() for _ in range(2)]
    (first, _), (second, _) = pipes
    inodes = [os.fstat(first).st_ino, os.fstat(second).st_ino]
    module._put([first, second], [second, first])
    assert [os.fstat(second).st_ino, os.fstat(first).st_ino] == inodes
    for pipe in pipes:
        for fd in pipe:
            os.close(fd)
