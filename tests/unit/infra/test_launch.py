"""The launcher: one holder of the lock, and nobody is root who must not be."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

from micro.infra import launch

SCRIPT = [sys.executable, "-I", launch.__file__]


def run(*arguments):
    return subprocess.run([*SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_without_a_lock_it_becomes_the_command():
    done = run("", "any", sys.executable, "-c", "print('here')")
    assert (done.returncode, done.stdout) == (0, "here\n")


def test_the_command_s_exit_code_is_its_own():
    assert run("", "any", sys.executable, "-c", "raise SystemExit(3)").returncode == 3


def test_a_lock_that_somebody_holds_is_respected(tmp_path):
    lock = tmp_path / "lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(str(lock), "any", "true").returncode == launch.LOCKED


def test_who_must_be_an_ordinary_user_is_one():
    done = run("", "ordinary", sys.executable, "-c", "import os; print(os.geteuid())")
    if done.returncode == launch.NOT_ORDINARY:
        assert os.geteuid() == 0, "only root may be refused, where the system has no user namespaces"
    else:
        assert int(done.stdout) != 0
