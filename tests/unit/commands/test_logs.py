"""`micro logs`: from files, with or without a stack."""

from __future__ import annotations

import json
import signal

import pytest


def record(second: int, service: str, level: str = "info", **more) -> dict:
    time = f"2026-01-01T12:00:{second:02}.000000Z"
    return {
        "time": time,
        "level": level,
        "service": service,
        "logger": "x",
        "message": f"said {second}",
        **more,
    }


@pytest.fixture
def logs(home):
    """A function that writes one service's log."""
    folder = home / ".micro" / "logs"
    folder.mkdir(parents=True)

    def write(service: str, *records: dict) -> None:
        with (folder / f"{service}.log").open("a") as file:
            file.writelines(json.dumps(each) + "\n" for each in records)

    return write


def test_all_services_are_merged_by_time(micro, logs):
    logs("task", record(1, "task"), record(3, "task", "error", exception="Traceback\n  boom"))
    logs("user", record(2, "user", extra={"user": "ada"}))
    code, out, err = micro("logs")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[1:4] for line in lines[:3]] == [
        ["info", "task", "said"],
        ["info", "user", "said"],
        ["error", "task", "said"],
    ]
    assert lines[1].endswith("user=ada")
    assert lines[3:] == ["    Traceback", "      boom"]


def test_one_service_a_level_and_a_time_may_be_asked_for(micro, logs):
    logs("task", record(1, "task", "error"), record(2, "task"), record(3, "task", "error"))
    logs("user", record(3, "user", "error"))
    arguments = ["logs", "task", "--level", "WARNING", "--since", "2026-01-01T12:00:02Z", "--json"]
    assert [each["message"] for each in micro(*arguments).json["items"]] == ["said 3"]


def test_following_prints_what_is_written_later(micro_process, logs):
    logs("task", record(1, "task"))
    process = micro_process("logs", "-f", "--json")
    with process:
        assert json.loads(process.stdout.readline())["message"] == "said 1"
        logs("task", record(2, "task"))
        assert json.loads(process.stdout.readline())["message"] == "said 2"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--level", "warn"], "there is no level 'warn'; did you mean 'warning'?"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["taks"], "'taks' has logged nothing here; did you mean 'task'?"),
    ],
)
def test_what_can_not_be_asked_for_is_one_sentence(micro, logs, arguments, said):
    logs("task", record(1, "task"))
    code, out, err = micro("logs", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_no_logs_are_no_lines_and_that_is_said(micro):
    assert micro("logs") == (0, "", "nothing was logged here so far\n")
    assert micro("logs", "--json").json == {"items": []}


def test_whoever_follows_a_service_may_be_there_before_its_first_line(micro_process, logs):
    process = micro_process("logs", "-f", "task", "--json")
    with process:
        assert process.stderr.readline() == b"nothing was logged here so far\n"
        logs("task.1", record(1, "task"))
        assert json.loads(process.stdout.readline())["message"] == "said 1"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_nobody_follows_what_is_no_service(micro, logs):
    logs("task", record(1, "task"))
    assert micro("logs", "-f", "taks") == (
        2,
        "",
        "error: 'taks' has logged nothing here; did you mean 'task'?\n",
    )


def test_a_service_has_the_files_of_its_instances_too(micro, logs):
    logs("task.1", record(1, "task", instance="task-1"))
    logs("task.2", record(2, "task", instance="task-2"))
    logs("access.1", record(3, "gateway"))
    code, out, _ = micro("logs", "task")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()] == ["task-1", "task-2"]
    assert micro("logs").out == out, "what was asked for is in the access log"
    assert "did you mean 'task'?" in micro("logs", "tsk").err
