"""What the person who typed `micro up` sees, and what a detached one is started with."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from micro.commands import up as module
from micro.commands.up import Screen, Up, report_lines
from micro.console import Console
from micro.runtime.report import NEXT, Report, Started

REPORT = Report(
    stack="demo",
    profile="dev",
    pid=7,
    gateway="http://127.0.0.1:8000",
    services=(
        Started(name="task", url="http://127.0.0.1:8002", health="healthy", seconds=0.0123),
        Started(name="notification", url="", health="unhealthy", seconds=1.5),
    ),
    seconds=0.234,
    reload=False,
    not_guaranteed=("a power cut may take something",),
    warnings=("nobody publishes X",),
)


class Pipe(io.StringIO):
    encoding = "utf-8"


class Gone(Pipe):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def shown(report: Report) -> list[str]:
    out = Pipe()
    console = Console(out, Pipe(), environ={})
    for line in report_lines(report):
        console.line(line)
    return out.getvalue().splitlines()


class TestReport:
    def test_it_says_what_where_how_long_what_not_and_what_next(self):
        assert shown(REPORT) == [
            "demo is up, profile dev, in 0.23 s",
            "  gateway       http://127.0.0.1:8000  documentation at http://127.0.0.1:8000/docs",
            "  task          http://127.0.0.1:8002  healthy  12 ms",
            "  notification    unhealthy  1.5 s",
            "warning: nobody publishes X",
            "profile dev does not guarantee:",
            "  - a power cut may take something",
            "next, in another terminal:",
            *(f"  {command}" for command in NEXT),
        ]

    def test_it_says_when_edits_are_followed(self):
        assert shown(replace(REPORT, reload=True))[0].endswith("; edits are followed")

    def test_a_profile_that_guarantees_everything_is_not_blamed(self):
        assert not any("not guarantee" in line for line in shown(replace(REPORT, not_guaranteed=())))


class TestScreen:
    def test_as_json_the_report_is_one_object_and_nothing_follows(self):
        out, err = Pipe(), Pipe()
        screen = Screen(Console(out, err, environ={}), json=True)
        screen.ready(REPORT)
        assert Report.from_dict(json.loads(out.getvalue())) == REPORT

    def test_what_is_no_report_is_told_on_standard_error(self):
        out, err = Pipe(), Pipe()
        screen = Screen(Console(out, err, environ={}))
        screen.notice("task: reloaded\nsecond line")
        screen.stopping()
        assert out.getvalue() == ""
        lines = err.getvalue().splitlines()
        assert lines[:2] == ["task: reloaded", "second line"]
        assert "Ctrl-C again" in lines[2]

    def test_nobody_has_to_look(self):
        screen = Screen(Console(Gone(), Gone(), environ={}))
        screen.ready(REPORT)
        screen.notice("task: reloaded")
        screen.stopping()

    def test_whoever_waits_for_the_start_hears_of_it_before_it_is_printed(self):
        heard = []

        class Announced:
            def ready(self, report):
                heard.append(report["stack"])

        Screen(Console(Gone(), Pipe(), environ={}), announcement=Announced()).ready(REPORT)
        assert heard == ["demo"]


class TestDetached:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["task", "user", "--no-deps"],
            ["--port", "9000", "--reload"],
            ["--no-reload", "--profile", "team"],
            ["--prod"],
            ["--prod", "--infra", "--migrate"],
        ],
    )
    def test_the_child_is_started_with_the_same_options_and_stays_in_the_foreground(
        self, arguments, tmp_path, monkeypatch
    ):
        started: list[list[str]] = []

        def detach(command, *, environ, log):
            started.append(command)
            assert log == tmp_path / ".micro" / "logs" / "up.log"
            return REPORT.as_dict()

        monkeypatch.setattr("micro.runtime.detach.detach", detach)
        monkeypatch.chdir(tmp_path)
        original = parse("up", "--detach", *arguments)
        original.run(Console(Pipe(), Pipe(), environ={}))
        again = parse(*started[0])
        assert not again.detach
        assert Path(again.directory) == tmp_path
        wanted = replace(original, detach=False, directory=again.directory)
        if wanted.prod:
            wanted = replace(wanted, prod=False, profile="prod")
        assert again == wanted


def parse(*arguments: str) -> Up:
    """The record that a command line makes, before it runs."""
    from micro.cli import command

    made: list[Up] = []

    def keep(self: Up, console: Console) -> int:
        made.append(self)
        return 0

    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(Up, "run", keep)
        command().main(list(arguments), prog_name="micro", standalone_mode=False, obj=None)
    return made[0]


def test_an_interrupt_before_the_stack_takes_signals_ends_it_with_0(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Up, "_run_here", interrupted)
    assert Up(directory=str(tmp_path)).run(Console(Pipe(), Pipe(), environ={})) is None


def test_the_runtime_is_loaded_only_when_something_is_started():
    assert module.__name__ in sys.modules
    assert isinstance(module.app, typer.Typer)
    assert not {"up", "UpOptions", "Choice"} & vars(module).keys()
