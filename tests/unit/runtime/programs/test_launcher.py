"""The launcher holds a program for as long as somebody holds the launcher. Run here, so that it is seen by coverage."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from micro.runtime.programs import launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STUBBORN = "trap '' TERM; exec 9> {path}; echo here >&9; while :; do sleep 0.05; done"


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Give the test process its signals back."""
    before = {number: signal.getsignal(number) for number in launcher._OURS}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.close(signal.set_wakeup_fd(-1))
    for number, handler in before.items():
        signal.signal(number, handler)


class Line:
    """Both ends of the line between a launcher and whoever holds it."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.ours.settimeout(60)

    def run(self, *command: str, grace: float = 20.0) -> int:
        return launcher.main([str(self._theirs.detach()), str(grace), *command])

    def sh(self, script: str, grace: float = 20.0) -> int:
        return self.run("/bin/sh", "-c", script, grace=grace)

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


@pytest.fixture
def once() -> Iterator[Callable[..., None]]:
    """`once(witness, act)` does something as soon as the program says that it is there."""
    threads: list[threading.Thread] = []

    def start(witness: Any, act: Callable[[], Any]) -> None:
        def wait() -> None:
            try:
                witness.line()
            finally:
                act()

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(60)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)])
def test_its_exit_code_is_the_programs_as_a_shell_counts(line: Line, script: str, code: int) -> None:
    assert line.sh(script) == code


def test_it_tells_the_programs_process_which_leads_a_group_of_its_own(line: Line, tmp_path: Path) -> None:
    assert line.sh(f"echo $$ $(ps -o pgid= -p $$) > {tmp_path / 'ids'}") == 0
    told, code = line.ours.recv(64).decode().split()
    assert (tmp_path / "ids").read_text().split() == [told, told]
    assert code == "0", "at the end, how it ended"


def test_a_program_that_cannot_be_executed_is_127_and_its_output_says_why(line: Line, capfd: Any) -> None:
    assert line.run("/no/such/program") == 127
    assert line.ours.recv(64) == b"0\n127\n"
    assert capfd.readouterr().err == "can't run /no/such/program: No such file or directory\n"


def test_the_program_gets_the_signals_that_python_ignores(line: Line) -> None:
    assert line.sh("kill -PIPE $$") == 128 + signal.SIGPIPE


def test_when_the_other_end_is_gone_the_program_is_asked_to_end(line: Line) -> None:
    line.ours.close()
    assert line.sh("exec sleep 60") == 128 + signal.SIGTERM


def test_an_order_to_end_asks_and_one_to_kill_does_not(line: Line, witness: Any, once: Any) -> None:
    once(witness, lambda: line.ours.send(launcher.END))
    trap = f"trap 'exit 7' TERM; exec 9> {witness.path}; echo here >&9; while :; do sleep 0.01; done"
    assert line.sh(trap) == 7


def test_one_that_does_not_heed_is_killed_at_once_where_that_is_the_order(
    line: Line, witness: Any, once: Any
) -> None:
    once(witness, lambda: line.ours.send(launcher.END + launcher.KILL))
    assert line.sh(STUBBORN.format(path=witness.path)) == 137


@pytest.mark.parametrize("grace", [0.0, 0.05])
def test_one_that_does_not_heed_is_killed_when_the_grace_is_over(
    line: Line, witness: Any, once: Any, grace: float
) -> None:
    once(witness, lambda: line.ours.send(launcher.END))
    assert line.sh(STUBBORN.format(path=witness.path), grace=grace) == 137
    assert witness.ended()


def test_a_signal_to_the_launcher_ends_the_program(line: Line) -> None:
    assert line.sh("kill -TERM $PPID; exec sleep 60") == 128 + signal.SIGTERM


def test_what_a_program_leaves_in_its_group_ends_with_it(line: Line, witness: Any) -> None:
    script = f"(exec 9> {witness.path}; echo here >&9; exec sleep 60) & read x < {witness.path}.go; exit 5"
    os.mkfifo(f"{witness.path}.go")
    go = threading.Thread(target=lambda: (witness.line(), Path(f"{witness.path}.go").write_text("go\n")))
    go.start()
    assert line.sh(script) == 5
    go.join(60)
    assert witness.ended()


def test_what_it_leaves_and_does_not_heed_is_killed(line: Line, witness: Any, once: Any) -> None:
    os.mkfifo(f"{witness.path}.go")
    once(witness, lambda: Path(f"{witness.path}.go").write_text("go\n"))
    stubborn = STUBBORN.format(path=witness.path)
    assert line.sh(f"({stubborn}) & read x < {witness.path}.go; exit 5", grace=0.05) == 5
    assert witness.ended()


def test_the_descriptor_may_be_any_that_a_busy_process_has_left(line: Line) -> None:
    """select() takes none from 1024 on."""
    high = fcntl.fcntl(line._theirs.fileno(), fcntl.F_DUPFD, 2000)
    assert launcher.main([str(high), "1", "/bin/sh", "-c", "exit 3"]) == 3
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(high)


def test_a_line_that_breaks_is_the_same_as_its_end(line: Line, once: Any, witness: Any) -> None:
    """Bytes that nobody has read are lost with the other end, which the system tells as an error."""
    once(witness, line.ours.close)
    assert line.sh(f"exec 9> {witness.path}; echo here >&9; exec sleep 60") == 128 + signal.SIGTERM
