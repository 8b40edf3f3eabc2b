"""What a member's `command` means is settled before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import ConfigurationError
from micro.runtime.programs.command import environment, launch_of, words
from micro.spec.gateway import GatewaySpec
from micro.stack import Member, Stack

if TYPE_CHECKING:
    from pathlib import Path


def member(command: str) -> Member:
    return Member(name="sms", command=command)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(name="demo", root=tmp_path, file=tmp_path / "micro.toml", members=(), gateway=GatewaySpec())


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that lies in a folder `bin`."""
    file = tmp_path / "bin" / "serve"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("node server.js", ["node", "server.js"]),
        ("run 'two words' \"a b\" c\\ d", ["run", "two words", "a b", "c d"]),
        ("run $HOME | cat > x; *", ["run", "$HOME", "|", "cat", ">", "x;", "*"]),
    ],
)
def test_it_is_split_as_a_shell_does_but_no_shell_reads_it(stack: Stack, command: str, expected: Any) -> None:
    assert words(member(command), stack) == expected


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("run 'open", "can't be read: no closing quotation"),
        ("run \\", "can't be read: no escaped character"),
        ("'' x", "names no program"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(stack: Stack, command: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        words(member(command), stack)
    assert str(caught.value) == f"micro.toml: services.sms.command: {reason}"


def test_a_program_is_found_on_the_path_that_it_gets_itself(stack: Stack, program: Path) -> None:
    launch = launch_of(member("serve -v"), stack, env={"PATH": f"/nowhere:{program.parent}"}, grace=2.0)
    assert launch.command == (str(program), "-v")
    assert launch.folder == stack.root
    assert launch.grace == 2.0


@pytest.mark.parametrize("written", ["bin/serve", "./bin/serve"])
def test_a_path_is_looked_for_in_the_folder_of_the_stack(stack: Stack, program: Path, written: str) -> None:
    launch = launch_of(member(written), stack, env={}, grace=2.0)
    assert program.samefile(launch.command[0])


def test_a_link_is_not_followed(stack: Stack, program: Path, tmp_path: Path) -> None:
    """A virtual environment's Python is one, and finds its packages by it."""
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "python").symlink_to(program)
    launch = launch_of(member("python"), stack, env={"PATH": str(tmp_path / "venv")}, grace=2.0)
    assert launch.command == (str(tmp_path / "venv" / "python"),)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("serv", "there is no program 'serv' to run; install it, or write its path"),
        ("bin/none", "there is no program 'bin/none' to run"),
        ("micro.toml", "there is no program 'micro.toml' to run; install it, or write its path"),
    ],
)
def test_a_program_that_is_not_there_is_one_sentence(
    stack: Stack, program: Path, command: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        launch_of(member(command), stack, env={"PATH": str(program.parent)}, grace=2.0)
    assert str(caught.value) == f"micro.toml: services.sms.command: {reason}"


def test_a_program_is_told_where_to_listen_and_where_it_runs() -> None:
    context = {"MICRO_STACK": "demo"}
    told = environment(member("x"), {"A": "1", "PORT": "1", "HOST": "x"}, port=8010, context=context)
    assert told == {
        "A": "1",
        "HOST": "127.0.0.1",
        "PORT": "8010",
        "MICRO_SERVICE": "sms",
        "MICRO_STACK": "demo",
        "PYTHONUNBUFFERED": "1",
    }
    held_back = environment(member("x"), {"PYTHONUNBUFFERED": ""}, port=1, context={})
    assert held_back["PYTHONUNBUFFERED"] == ""
