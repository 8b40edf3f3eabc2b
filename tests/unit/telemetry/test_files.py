"""Files of lines, rotated by size."""

from __future__ import annotations

import os
import stat

import pytest

from micro.telemetry.files import RotatingFile, rotated


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "task.log"


def test_nothing_is_made_before_the_first_write(path):
    RotatingFile(path).close()
    assert not path.parent.exists()


def test_the_file_and_its_folder_are_for_their_owner_only(path):
    file = RotatingFile(path)
    file.write(b"a\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    file.close()


def test_lines_are_appended_to_what_is_there(path):
    for line in (b"a\n", b"b\n"):
        file = RotatingFile(path)
        file.write(line)
        file.close()
    assert path.read_bytes() == b"a\nb\n"


def test_a_file_that_would_outgrow_its_size_becomes_the_first_older_one(path):
    file = RotatingFile(path, max_bytes=4, keep=2)
    for line in (b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"f\n", b"g\n"):
        file.write(line)
    file.close()
    assert path.read_bytes() == b"g\n"
    assert rotated(path, 1).read_bytes() == b"e\nf\n"
    assert rotated(path, 2).read_bytes() == b"c\nd\n"
    assert not rotated(path, 3).exists()


def test_with_no_older_files_kept_it_starts_anew(path):
    file = RotatingFile(path, max_bytes=2, keep=0)
    file.write(b"a\n")
    file.write(b"b\n")
    file.close()
    assert path.read_bytes() == b"b\n"
    assert not rotated(path, 1).exists()


def test_a_write_larger_than_a_file_may_be_is_not_split(path):
    file = RotatingFile(path, max_bytes=4)
    file.write(b"longer than four\n")
    file.close()
    assert path.read_bytes() == b"longer than four\n"
    assert not rotated(path, 1).exists()


def test_what_follows_a_torn_line_starts_on_a_line_of_its_own(path):
    path.parent.mkdir()
    path.write_bytes(b'{"cut": "sho')
    file = RotatingFile(path)
    file.write(b"a\n")
    file.close()
    assert path.read_bytes() == b'{"cut": "sho\na\n'


def test_a_write_cut_short_by_a_full_disk_is_told_and_the_next_line_is_whole(path, monkeypatch):
    file = RotatingFile(path)
    file.write(b"first\n")
    real = os.write
    left = [3, None]

    def full(handle, data):
        room = left.pop(0)
        if room is None:
            raise OSError(28, "No space left on device")
        return real(handle, data[:room])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            file.write(b"second\n")
    file.write(b"third\n")
    file.close()
    assert path.read_bytes() == b"first\nsec\nthird\n"


def test_it_can_be_closed_twice_and_written_again(path):
    file = RotatingFile(path)
    file.write(b"a\n")
    file.close()
    file.close()
    file.write(b"b\n")
    file.close()
    assert path.read_bytes() == b"a\nb\n"
