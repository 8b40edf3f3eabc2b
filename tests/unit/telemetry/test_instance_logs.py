"""The log of one instance: a file of its own, and lines that are offered, never forced."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress

import pytest

from micro.telemetry import logs as module
from micro.telemetry.instance_logs import configure_instance_logs
from micro.telemetry.logs import MARK, OfferedLines, configure_logs, offer


@pytest.fixture
def pipe(monkeypatch):
    """What would be stderr: reading end and writing end."""
    reading, writing = os.pipe()
    monkeypatch.setattr(module, "_STDERR", writing)
    yield reading, writing
    for number in (reading, writing):
        with suppress(OSError):  # a test has closed it
            os.close(number)


def test_every_record_is_in_the_instances_file_and_shown_with_a_mark(tmp_path, pipe):
    logs = configure_instance_logs(tmp_path, "task", 2)
    try:
        logging.getLogger("anything").warning("one\ntwo")
        logging.getLogger("micro.service.other").info("of another")
        logging.getLogger("anything").debug("too little")
    finally:
        logs.close()
    assert [path.name for path in tmp_path.iterdir()] == ["task.2.log"]
    first, second = map(json.loads, (tmp_path / "task.2.log").read_text().splitlines())
    assert (first["service"], first["instance"], first["message"]) == ("task", "task-2", "one\ntwo")
    assert second["service"] == "other"
    shown = os.read(pipe[0], 1 << 16).decode().removesuffix("\n").split("\n")
    assert len(shown) == 3
    assert all(line.startswith(MARK) for line in shown)
    assert "task-2" in shown[0]


def test_a_line_that_nobody_takes_is_lost_and_holds_up_nobody(pipe):
    os.set_blocking(pipe[1], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe[1], b"x" * 4096)
    assert offer("hello") is False
    os.read(pipe[0], 1 << 20)
    assert offer("hello") is True


def test_a_very_long_line_is_cut_to_what_surely_fits(pipe):
    assert offer("x" * 100_000)
    assert len(os.read(pipe[0], 1 << 20)) == 4001


def test_a_reader_that_is_gone_is_no_error(pipe):
    os.close(pipe[0])
    assert offer("hello") is False
    OfferedLines("task-1").emit(logging.makeLogRecord({"msg": "hello"}))


def test_a_record_that_can_not_be_written_does_not_break_its_caller(pipe, monkeypatch):
    seen = []
    handler = OfferedLines()
    monkeypatch.setattr(handler, "handleError", seen.append)
    handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    assert len(seen) == 1


def test_whoever_looks_after_others_offers_its_lines_too(pipe):
    logs = configure_logs(None, patient=False)
    try:
        logging.getLogger("anything").warning("hello")
    finally:
        logs.close()
    shown = os.read(pipe[0], 1 << 16).decode()
    assert "hello" in shown
    assert MARK not in shown
    assert sys.stderr.fileno() != pipe[1]
