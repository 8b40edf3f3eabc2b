"""From the `command` of a member to what is executed: its words, its program, its environment."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from micro.runtime.programs.process import Launch
from micro.spec.validate import Place

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from micro.stack import Member, Stack


def launch_of(member: Member, stack: Stack, *, env: Mapping[str, str], grace: float) -> Launch:
    """What to run for a member with a `command`. `env` is all of its environment.

    Raises `ConfigurationError` with file and key where there is no such program, or the command can't be read.
    """
    program, *arguments = words(member, stack)
    found = _find(program, stack.root, env.get("PATH"))
    if found is None:
        hint = "" if os.sep in program else "; install it, or write its path"
        raise _place(member, stack).error(f"there is no program '{program}' to run{hint}")
    return Launch(command=(found, *arguments), env=env, folder=stack.root, grace=grace)


def words(member: Member, stack: Stack) -> list[str]:
    """The words of a command, split as a POSIX shell does; nothing is expanded. Raises `ConfigurationError`."""
    assert member.command is not None
    try:
        found = shlex.split(member.command)
    except ValueError as error:
        raise _place(member, stack).error(f"can't be read: {str(error).lower()}") from error
    if not found or not found[0]:
        raise _place(member, stack).error("names no program")
    return found


def environment(
    member: Member, given: Mapping[str, str], *, port: int, context: Mapping[str, str]
) -> dict[str, str]:
    """What the program of a member is told.

    That is `given` (see `Config.service_env`), where to listen (`HOST`, `PORT`), whose program it is (`MICRO_SERVICE`)
    and the `context`. Output of Python programs is not held back, unless `given` says otherwise.
    """
    return {
        "PYTHONUNBUFFERED": "1",
        **given,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MICRO_SERVICE": member.name,
        **context,
    }


def _find(program: str, root: Path, path: str | None) -> str | None:
    """The program's absolute path: looked for in `path`, or below the stack's folder where it names a folder."""
    if os.sep in program:
        return shutil.which(root / program)
    found = shutil.which(program, path=path)
    return os.path.abspath(found) if found else None  # noqa: PTH100 # without following links: a venv's python is one


def _place(member: Member, stack: Stack) -> Place:
    return Place(stack.source, ("services", member.name, "command"))
