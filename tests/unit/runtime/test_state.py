"""The state folder: one stack at a time, and nothing left in the way after a kill."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from micro.errors import ConfigurationError, StackRunning
from micro.runtime.state import RunRecord, StateFolder, lasting_name, private_folder, read_run


def record(socket: str = "/nowhere/x.sock") -> RunRecord:
    return RunRecord(
        pid=os.getpid(),
        socket=socket,
        stack="demo",
        profile="dev",
        started_at="2026-01-01T00:00:00.000Z",
        gateway="http://127.0.0.1:8000",
        services={"task": "http://127.0.0.1:8002"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / ".micro")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_for_its_owner_only(folder: StateFolder) -> None:
    folder.path.mkdir(mode=0o755)
    folder.acquire()
    assert [mode(path) for path in (folder.path, folder.logs, folder.keys)] == [0o700] * 3
    folder.release()


def test_a_second_holder_is_refused_and_told_who_has_it(folder: StateFolder) -> None:
    folder.acquire()
    with pytest.raises(StackRunning, match=rf"process {os.getpid()}.*micro down"):
        StateFolder(folder.path).acquire()
    folder.release()


def test_a_file_where_the_folder_belongs_is_told(folder: StateFolder) -> None:
    folder.path.write_text("")
    with pytest.raises(ConfigurationError, match=r"\.micro: is in the way: it is to be a folder"):
        folder.acquire()


def test_a_name_lasts_and_no_other_machine_or_folder_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a b.example")
    name = lasting_name("task-1", tmp_path)
    assert re.fullmatch(r"task-1\.a-b\.example\.[0-9a-f]{8}", name), "which Kafka takes"
    monkeypatch.chdir(tmp_path)
    assert lasting_name("task-1", Path()) == name
    assert lasting_name("task-1", tmp_path / "other") != name
    monkeypatch.setattr("socket.gethostname", lambda: "other.example")
    assert lasting_name("task-1", tmp_path) != name


def test_after_release_the_next_may_have_it(folder: StateFolder) -> None:
    folder.acquire()
    folder.release()
    folder.release()
    second = StateFolder(folder.path)
    second.acquire()
    second.release()


def test_the_lock_of_a_killed_process_is_free_and_its_traces_are_swept(
    folder: StateFolder, tmp_path: Path
) -> None:
    socket = tmp_path / "left.sock"
    socket.touch()
    program = (
        "import os, pathlib, signal, sys\n"
        "from micro.runtime.state import RunRecord, StateFolder\n"
        "folder = StateFolder(pathlib.Path(sys.argv[1])); folder.acquire()\n"
        "folder.publish(RunRecord(pid=os.getpid(), socket=sys.argv[2], stack='', profile='', started_at='', gateway='', services={}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, folder.path, socket], check=False)
    left = read_run(folder.path)
    assert left is not None
    assert left.socket == str(socket)
    folder.acquire()
    assert read_run(folder.path) is None
    assert not socket.exists()
    folder.release()


def test_what_is_published_can_be_read_and_goes_with_the_release(folder: StateFolder) -> None:
    folder.acquire()
    folder.publish(record())
    assert read_run(folder.path) == record()
    assert mode(folder.path / "run.json") == 0o600
    folder.release()
    assert read_run(folder.path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}'])
def test_a_damaged_record_reads_as_none(folder: StateFolder, content: bytes) -> None:
    folder.path.mkdir()
    (folder.path / "run.json").write_bytes(content)
    assert read_run(folder.path) is None


def test_a_folder_that_cannot_be_made_is_a_sentence_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/\.micro: can't write here"):
        StateFolder(tmp_path / "file" / ".micro").acquire()


def test_the_socket_lies_in_a_short_private_folder_and_differs_per_stack(tmp_path: Path) -> None:
    first, second = (StateFolder(tmp_path / name).socket_path() for name in ("a", "b"))
    assert first != second
    assert first == StateFolder(tmp_path / "a").socket_path()
    assert len(os.fsencode(first)) <= 100
    assert mode(first.parent) == 0o700


def test_a_long_temporary_folder_is_passed_over_for_a_short_one(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    assert private_folder([long, tmp_path]).parent == tmp_path


def test_where_every_temporary_folder_is_too_long_it_says_so(
    folder: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("micro.runtime.state._temporary_roots", lambda: [long])
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        folder.socket_path()


def test_a_link_in_place_of_the_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"micro-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigurationError, match="someone else"):
        private_folder([tmp_path])


def test_an_open_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / f"micro-{os.getuid()}").mkdir(mode=0o755)
    assert mode(private_folder([tmp_path])) == 0o700


def test_a_temporary_root_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't make it"):
        private_folder([tmp_path / "missing"])
