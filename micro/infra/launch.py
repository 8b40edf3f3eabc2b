"""Becomes a server: takes its lock, leaves root behind where it must, and executes the command.

Run as a script by `micro.infra.server`; it knows the standard library only. The lock is inherited by the server, so it is
held for just as long as the server lives, and whoever finds it free knows that the server is gone.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
from pathlib import Path

LOCKED = 75
"""Exit code (EX_TEMPFAIL): another process holds the lock."""
NOT_ORDINARY = 77
"""Exit code (EX_NOPERM): it is root, and can't be anybody else."""

_CLONE_NEWUSER = 0x1000_0000
_ORDINARY_ID = 1000


def become_ordinary() -> bool:
    """Make the process look like an ordinary user's to itself, for servers that refuse to run as root.

    In a user namespace of its own (user_namespaces(7)) the files stay root's, and readable. False where the system
    doesn't allow one.
    """
    if sys.platform != "linux" or ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        return False
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{_ORDINARY_ID} 0 1")
    (own / "gid_map").write_text(f"{_ORDINARY_ID} 0 1")
    return True


def main(lock: str, kind: str, *command: str) -> int:
    """Execute `command`. `kind` is `any` or, where it must not be root, `ordinary`.

    With a `lock`, in a process of its own that outlives this one, with the lock held; with an empty one, right here.
    """
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600) if lock else None
    if held is not None:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return LOCKED
    if kind == "ordinary" and os.geteuid() == 0 and not become_ordinary():
        return NOT_ORDINARY
    if held is not None:
        child = os.fork()
        if child:  # the note is there before anybody is told that it runs
            os.ftruncate(held, 0)
            os.pwrite(held, f"{child}\n".encode(), 0)
            return 0
        os.setsid()
        os.set_inheritable(held, True)
    return os.execvp(command[0], command)  # noqa: S606 # that is the point: the command takes this process's place


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
