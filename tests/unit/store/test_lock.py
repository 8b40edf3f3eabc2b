"""One process per file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from micro.errors import StoreUnavailable
from micro.store.lock import FileLock

HOLDER = """
import pathlib, sys
from micro.store.lock import FileLock
FileLock.keep = FileLock(pathlib.Path(sys.argv[1]))
FileLock.keep.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def guarded(tmp_path):
    return tmp_path / "it.db"


def test_a_second_holder_in_the_same_process_is_turned_away(guarded):
    first = FileLock(guarded)
    first.acquire()
    with pytest.raises(StoreUnavailable, match=r"it\.db is in use by this process; stop it first"):
        FileLock(guarded).acquire()
    first.release()


def test_after_release_it_can_be_taken_again(guarded):
    for _ in range(3):
        lock = FileLock(guarded)
        lock.acquire()
        lock.release()


def test_releasing_what_is_not_held_is_no_error(guarded):
    lock = FileLock(guarded)
    lock.release()
    lock.acquire()
    lock.release()
    lock.release()


def test_the_lock_file_says_who_holds_it_and_nobody_else_may_read_it(guarded):
    lock = FileLock(guarded)
    lock.acquire()
    side = guarded.with_name("it.db.lock")
    assert side.read_text() == f"{os.getpid()}\n"
    assert side.stat().st_mode & 0o777 == 0o600
    lock.release()
    assert side.read_text() == ""


@pytest.mark.crash
def test_the_owner_is_named_and_kill_9_frees_the_file(guarded):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(guarded)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreUnavailable, match=f"in use by process {holder.pid}"):
            FileLock(guarded).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)
        lock = FileLock(guarded)
        lock.acquire()
        lock.release()


def test_a_program_that_the_holder_starts_does_not_inherit_the_lock(guarded):
    lock = FileLock(guarded)
    lock.acquire()
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
    ) as child:
        lock.release()
        again = FileLock(guarded)
        again.acquire()
        again.release()
        child.stdin.close()
        child.wait(60)


def test_an_owner_that_has_not_signed_yet_is_just_another_process(guarded):
    first = FileLock(guarded)
    first.acquire()
    guarded.with_name("it.db.lock").write_text("")
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        FileLock(guarded).acquire()
    first.release()


def test_a_lock_file_that_can_not_be_made_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable, match="can't be opened"):
        FileLock(tmp_path / "missing" / "it.db").acquire()


def test_a_file_system_without_locks_is_unavailable(guarded, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreUnavailable, match="can't be locked: Operation not supported"):
        FileLock(guarded).acquire()
