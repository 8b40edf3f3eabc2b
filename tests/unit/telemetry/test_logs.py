"""Logs: whose record it is, JSON lines in files, lines for people, no secrets."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

import pytest

from micro import context
from micro.context import Context
from micro.telemetry.logs import (
    Lines,
    ServiceFiles,
    configure_logs,
    current_service,
    service_logger,
    service_of,
    to_json,
    to_line,
)


@pytest.fixture
def logs(tmp_path):
    logs = configure_logs(tmp_path / "logs", console=False)
    yield logs
    logs.close()


@pytest.fixture
def task():
    mark = current_service.set("task")
    yield
    current_service.reset(mark)


def make(message="hello", *args, name="some.library", level=logging.INFO, error=None):
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, level, __file__, 1, message, args, info)


def raised(error):
    """The error with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def lines(tmp_path, name):
    return [json.loads(line) for line in (tmp_path / "logs" / f"{name}.log").read_text().splitlines()]


@pytest.mark.parametrize(
    ("logger", "service"),
    [
        ("micro.service.task", "task"),
        ("micro.service.task.db", "task"),
        ("micro.gateway", "gateway"),
        ("micro.gateway.access", "gateway"),
        ("micro.runtime", "micro"),
        ("uvicorn.error", "micro"),
        ("micro.service.../../etc/passwd", "micro"),
        ("micro.service.Not A Name", "micro"),
    ],
)
def test_the_loggers_name_decides_the_service(logger, service):
    assert service_of(make(name=logger)) == service


def test_any_other_logger_belongs_to_the_service_whose_code_runs(task):
    assert service_of(make(name="sqlalchemy.engine")) == "task"
    assert service_of(make(name="micro.service.user")) == "user"


def test_each_service_has_a_file_of_its_own(tmp_path, logs):
    service_logger("task").info("created %s", 7)
    service_logger("user").warning("odd")
    logging.getLogger("elsewhere").error("stack")
    assert lines(tmp_path, "task")[0]["message"] == "created 7"
    assert lines(tmp_path, "user")[0]["level"] == "warning"
    assert lines(tmp_path, "micro")[0]["logger"] == "elsewhere"


def test_records_below_the_level_are_left_out(tmp_path, logs):
    service_logger("task").debug("too much")
    service_logger("task").info("enough")
    assert [line["message"] for line in lines(tmp_path, "task")] == ["enough"]


def test_a_line_carries_the_ids_of_the_request():
    mark = context.current.set(
        Context(
            correlation_id="c1",
            causation_id="r1",
            traceparent=f"00-{'a' * 32}-{'b' * 16}-00",
            request_id="r1",
        )
    )
    try:
        fields = to_json(make())
    finally:
        context.current.reset(mark)
    assert fields["request_id"] == fields["causation_id"] == "r1"
    assert fields["correlation_id"] == "c1"
    assert fields["trace_id"] == "a" * 32


def test_without_a_request_there_are_no_ids():
    assert set(to_json(make())) == {"time", "level", "service", "logger", "message"}


def test_extra_fields_are_kept_and_their_secrets_hidden():
    record = make()
    record.order, record.api_token = {"id": 7, "password": "hunter2"}, "abc"
    assert to_json(record)["extra"] == {"order": {"id": 7, "password": "***"}, "api_token": "***"}


def test_a_traceback_is_kept_without_the_secrets_in_it():
    fields = to_json(make(error=raised(ValueError("no connection to postgres://me:hunter2@db/x"))))
    assert "ValueError: no connection to postgres://me:***@db/x" in fields["exception"]
    assert "test_logs.py" in fields["exception"]


def test_a_very_long_traceback_keeps_its_end():
    text = to_json(make(error=raised(ValueError("x" * 50_000 + " the end"))))["exception"]
    assert len(text) == 20_001
    assert text.startswith("…")
    assert text.endswith("the end\n")


def test_what_json_cannot_express_is_written_as_text(tmp_path, logs):
    service_logger("task").info("odd", extra={"thing": pytest, "lone": "\ud800"})
    service_logger("task").info("\udfff")
    first, second = lines(tmp_path, "task")
    assert "\\ud800" in first["extra"]
    assert second["message"] == "'\\udfff'"


def test_an_object_is_written_as_its_text(tmp_path, logs):
    service_logger("task").info("made", extra={"where": tmp_path})
    assert lines(tmp_path, "task")[0]["extra"] == {"where": str(tmp_path)}


def test_a_broken_call_does_not_break_its_caller(tmp_path, logs, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    service_logger("task").info("%d", "not a number")
    service_logger("task").info("fine")
    assert [line["message"] for line in lines(tmp_path, "task")] == ["fine"]


def test_a_full_disk_is_told_once_and_counted(tmp_path, monkeypatch, capsys):
    handler = ServiceFiles(tmp_path / "logs")
    with monkeypatch.context() as patch:
        patch.setattr(
            "os.write", lambda handle, data: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        handler.handle(make(name="micro.service.task"))
        handler.handle(make(name="micro.service.task"))
    assert handler.lost == 2
    assert capsys.readouterr().err == f"micro: can't write to {tmp_path / 'logs'}: No space left on device\n"
    handler.handle(make("again", name="micro.service.task"))
    assert lines(tmp_path, "task")[-1]["message"] == "again"
    handler.close()


def test_a_line_for_people_has_time_level_service_and_message():
    line = to_line(make("created %s", "x", name="micro.service.task"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    task         created x", line)


def test_a_line_for_people_shows_control_characters_instead_of_obeying_them():
    line = to_line(make("\x1b[2Jforged\r\nsecond"))
    assert "\x1b" not in line
    assert "\\x1b[2Jforged\\x0d\n    second" in line


def test_a_line_for_people_ends_with_the_traceback():
    assert to_line(make(error=raised(KeyError("x")))).endswith("KeyError: 'x'")


@pytest.mark.parametrize(("level", "colour"), [(logging.ERROR, "\x1b[31m"), (logging.INFO, "")])
def test_colour_marks_what_is_wrong(level, colour):
    line = to_line(make(level=level), colour=True)
    assert (colour in line) if colour else ("\x1b" not in line)


def test_the_console_gets_the_lines_and_no_secrets(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs = configure_logs(None, level="warning")
    try:
        service_logger("user").warning("login with password=hunter2")
        service_logger("user").info("quiet")
    finally:
        logs.close()
    assert stream.getvalue().endswith("WARNING user         login with password=***\n")
    assert "quiet" not in stream.getvalue()


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="no log level 'loud'"):
        configure_logs(None, level="loud")


def test_closing_takes_the_handlers_away_and_may_be_repeated(tmp_path):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    logs = configure_logs(tmp_path, level="debug")
    assert len(root.handlers) == len(before) + 2
    logs.close()
    logs.close()
    assert root.handlers == before
    assert root.level == level


def test_a_stream_handler_formats_by_itself():
    stream = io.StringIO()
    Lines(stream, colour=True).handle(make("careful", level=logging.WARNING))
    assert "\x1b[33mWARNING\x1b[0m" in stream.getvalue()
