"""The client of the control socket, against a real Unix socket served by a thread of the test."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from micro.errors import CallError, MicroError, StackNotRunning, UsageError
from micro.runtime import client
from micro.runtime.client import RunningStack, find_stack, wait_until_stopped


class Listener:
    """Answers every connection by `script(request line, connection)`; keeps the requests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mc"))
        self.path = self.folder / "s"
        self.requests: list[dict] = []
        self.hung_up = threading.Event()
        self.script = lambda request, connection: None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def answer(self, *messages: object) -> None:
        """Send these messages, text as it is, to whoever asks."""
        lines = [each if isinstance(each, str) else json.dumps(each) + "\n" for each in messages]
        self.script = lambda request, connection: connection.sendall("".join(lines).encode())

    def stack(self) -> RunningStack:
        return RunningStack(pid=4711, socket=str(self.path))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                line = lines.readline()
                if line:
                    self.requests.append(json.loads(line))
                    self.script(self.requests[-1], connection)


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


def test_items_come_in_order_and_the_end_is_returned(listener):
    listener.answer({"item": {"n": 1}}, {"item": {"n": 2}}, {"end": {"count": 2}})
    items: list[dict] = []
    end = listener.stack().ask("events.list", {"topic": "t"}, each=items.append)
    assert items == [{"n": 1}, {"n": 2}]
    assert end == {"count": 2}
    assert listener.requests == [{"verb": "events.list", "args": {"topic": "t"}}]


def test_items_are_passed_over_where_nobody_wants_them(listener):
    listener.answer({"item": {"n": 1}}, {"end": {}})
    assert listener.stack().ask("ps", {}) == {}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"kind": "usage", "message": "no such service 'x'"}, UsageError),
        ({"kind": "internal", "message": "no such service 'x'"}, MicroError),
    ],
)
def test_a_refusal_is_raised_with_the_stack_s_own_sentence(listener, error, kind):
    listener.answer({"error": error})
    with pytest.raises(MicroError, match="no such service 'x'") as caught:
        listener.stack().ask("ps", {})
    assert type(caught.value) is kind


def test_a_refusal_without_a_reason_is_still_a_sentence(listener):
    listener.answer({"error": {}})
    with pytest.raises(MicroError, match="without a reason"):
        listener.stack().ask("ps", {})


@pytest.mark.parametrize("nonsense", ["nonsense\n", "[1]\n", '{"other": 1}\n', "\xff\n"])
def test_what_is_no_answer_is_refused(listener, nonsense):
    listener.answer(nonsense)
    with pytest.raises(CallError, match="no answer"):
        listener.stack().ask("ps", {})


def test_an_answer_longer_than_the_limit_is_refused(listener, monkeypatch):
    monkeypatch.setattr(client, "LONGEST_ANSWER", 20)
    listener.answer({"item": {"text": "x" * 100}}, {"end": {}})
    with pytest.raises(CallError, match="no answer"):
        listener.stack().ask("ps", {})


def test_an_answer_that_breaks_off_says_that_the_stack_stopped(listener):
    listener.answer({"item": {"n": 1}})
    with pytest.raises(CallError, match=r"events\.tail: the stack stopped"):
        listener.stack().ask("events.tail", {})


def test_a_silent_stack_is_given_up_after_the_time_out(listener):
    release = threading.Event()
    listener.script = lambda request, connection: release.wait(60)
    try:
        with pytest.raises(CallError, match=r"said nothing for 0.05 s; see: micro logs"):
            listener.stack().ask("ps", {}, timeout=0.05)
    finally:
        release.set()


def test_an_exception_in_the_middle_hangs_up_so_that_the_stack_stops_the_verb(listener):
    gone = threading.Event()

    def script(request, connection):
        connection.sendall(b'{"item": {}}\n')
        if not connection.recv(1):
            gone.set()

    def each(item):
        raise ZeroDivisionError

    listener.script = script
    with pytest.raises(ZeroDivisionError):
        listener.stack().ask("events.tail", {}, each=each, timeout=None)
    assert gone.wait(60)


def test_no_socket_means_no_stack(tmp_path):
    with pytest.raises(StackNotRunning, match="micro up"):
        RunningStack(pid=1, socket=str(tmp_path / "none")).ask("ps", {})


def test_a_socket_of_another_user_is_not_trusted(listener, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    monkeypatch.setattr(Path, "lstat", lambda path: os.stat_result([0] * 4 + [999] + [0] * 5))
    with pytest.raises(StackNotRunning):
        listener.stack().ask("ps", {})
    assert listener.requests == []


def test_a_stack_that_accepts_nobody_is_called_stuck():
    folder = Path(tempfile.mkdtemp(prefix="mc"))
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
        full.bind(str(folder / "s"))
        full.listen(0)
        waiting.connect(str(folder / "s"))
        with pytest.raises(CallError, match=r"process 7.*stuck"):
            RunningStack(pid=7, socket=str(folder / "s")).ask("ps", {})
    shutil.rmtree(folder)


def test_the_record_in_the_state_folder_says_where_the_stack_is(listener, tmp_path):
    record = {"pid": 4711, "socket": str(listener.path), "gateway": "http://127.0.0.1:8000", "later": True}
    (tmp_path / "run.json").write_text(json.dumps(record))
    stack = find_stack(tmp_path)
    assert (stack.pid, stack.gateway, stack.services) == (4711, "http://127.0.0.1:8000", {})


@pytest.mark.parametrize(
    "record", [None, "", "[]", "[1]", '{"pid": 1}', '"x"', "7", '{"pid": 1, "socket": "/nowhere"}']
)
def test_a_record_that_is_missing_broken_or_stale_means_no_stack(tmp_path, record):
    if record is not None:
        (tmp_path / "run.json").write_text(record)
    with pytest.raises(StackNotRunning, match=f"no stack is running in {tmp_path.parent}.*micro up"):
        find_stack(tmp_path)


def test_a_folder_that_nobody_holds_is_stopped_already(tmp_path):
    assert wait_until_stopped(tmp_path, timeout=60)


def test_stopped_means_that_the_process_let_go_of_its_lock(tmp_path):
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder, holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"held\n"
        assert not wait_until_stopped(tmp_path, timeout=0.01)
        holder.kill()
        assert wait_until_stopped(tmp_path, timeout=60)
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # waits: a process that is being started may have it for a moment, until it executes


def test_asking_loads_neither_an_event_loop_nor_msgspec():
    """Because that would cost more than most answers."""
    program = "import sys, micro.runtime.client; print(sorted({'asyncio', 'msgspec', 'starlette'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
