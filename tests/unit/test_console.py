"""The only place that prints."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, dictionaries, integers, lists, none, recursive, sampled_from, text

from micro.console import Console, OutputClosed, color_of, style, tree


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    encoding = "utf-8"


class Gone(Pipe):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def console(out: io.StringIO, err: io.StringIO | None = None, **environ: str) -> Console:
    return Console(out, err or Pipe(), environ=environ)


RED = "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal, {}, RED),
        (Pipe, {}, "red"),
        (Terminal, {"NO_COLOR": "1"}, "red"),
        (Terminal, {"NO_COLOR": ""}, RED),
        (Terminal, {"TERM": "dumb"}, "red"),
        (Pipe, {"FORCE_COLOR": "1"}, RED),
        (Pipe, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "red"),
    ],
)
def test_colour_is_for_terminals_and_the_environment_may_say_otherwise(stream, environ, expected):
    out = stream()
    console(out, **environ).line(style("red", "red"))
    assert out.getvalue() == expected + "\n"


def test_a_remark_has_the_colour_that_standard_error_can_show():
    out, err = Pipe(), Terminal()
    console(out, err).note(style("red", "red"))
    assert (out.getvalue(), err.getvalue()) == ("", RED + "\n")


@pytest.mark.parametrize(
    ("evil", "shown"),
    [
        ("a\x1b]0;title\x07b", "a\\x1b]0;title\\x07b"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nerror: forged", "a\\nerror: forged"),
        ("a\rb", "a\\rb"),
        ("a\x9b2Jb", "a\\x9b2Jb"),
        ("a\u202eb", "a\\u202eb"),
        ("ä\U0001f600", "ä\U0001f600"),
    ],
)
def test_text_of_others_can_neither_forge_a_line_nor_move_the_cursor(evil, shown):
    for stream in (Terminal(), Pipe()):
        console(stream).line(evil)
        assert stream.getvalue() == shown + "\n"


def test_a_table_in_a_pipe_is_aligned_and_whole():
    out = Pipe()
    console(out).table(["name", "url"], [["task", "x" * 200], [style("notification", "red"), ""]])
    assert out.getvalue().splitlines() == [
        "NAME          URL",
        "task          " + "x" * 200,
        "notification",
    ]


def test_a_table_on_a_terminal_is_drawn_by_rich_in_colour():
    out = Terminal()
    console(out, COLUMNS="80").table(
        ["name", "state"], [["task", style("healthy", "green")], ["[red]x[/red]", "a\x1b[2J"]]
    )
    text = out.getvalue()
    assert "\x1b[32mhealthy" in text
    assert "[red]x[/red]" in text, "what looks like rich's markup is text"
    assert "a\\x1b[2J" in text


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_narrow_terminal_breaks_lines_and_no_cell_that_one_would_copy(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    out = Terminal()
    row = [
        "notification",
        "0197c2a4-7e1b-7c8e-9d52-3f5a1c0b2d4e",
        "http://127.0.0.1:8001",
        "45545",
        "6015",
        "no",
    ]
    console(out, NO_COLOR="1").table(["service", "event", "url", "port", "pid", "up"], [row])
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["SERVICE", "EVENT", "URL", "PORT", "PID", "UP"],
        row,
    ]


def test_a_cell_that_is_too_long_for_the_terminal_is_folded(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    console(out, NO_COLOR="1").table(["name", "error"], [["task", "x" * 100]])
    assert [len(line.strip()) for line in out.getvalue().splitlines()][1:] == [60, 46]


def test_a_table_on_a_terminal_without_colour_has_none():
    out = Terminal()
    console(out, NO_COLOR="1").table(["name"], [[style("task", "green")]])
    assert "\x1b[3" not in out.getvalue()


def test_json_is_one_object_a_line_as_it_is_printed():
    out = Pipe()
    printer = console(out)
    printer.json({"text": "ä\nb", "n": [1, None]})
    printer.json({})
    assert out.getvalue() == '{"text":"ä\\nb","n":[1,null]}\n{}\n'


def test_json_escapes_the_control_characters_that_json_would_let_through():
    out = Terminal()
    console(out).json({"text": "\x9b2J\x7f"})
    assert out.getvalue() == '{"text":"\\u009b2J\\u007f"}\n'
    assert json.loads(out.getvalue()) == {"text": "\x9b2J\x7f"}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_valid_in_every_encoding_even_with_half_a_character(encoding):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    value = {"text": "ä \U0001f600 \ud800"}
    Console(out, Pipe(), environ={}).json(value)
    assert json.loads(raw.getvalue().decode(encoding)) == value


def test_a_line_is_escaped_where_the_encoding_lacks_its_characters():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Console(out, Pipe(), environ={}).line("├─ ä")
    assert raw.getvalue() == b"\\u251c\\u2500 \\xe4\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("no such service", ["error: no such service"]),
        ("first\n\n  second\nthird", ["error: first", "second"]),
        ("  \n", ["error: unknown"]),
    ],
)
def test_an_error_is_two_lines_at_most(text, lines):
    err = Pipe()
    console(Pipe(), err).error(text)
    assert err.getvalue().splitlines() == lines


@pytest.mark.parametrize("act", ["line", "json", "table", "raw"])
def test_a_reader_that_left_is_told_apart_from_every_other_failure(act):
    read, write = os.pipe()
    os.close(read)
    out = os.fdopen(write, "w")
    printer = Console(out, Pipe(), environ={})
    arguments = {"line": ["x"], "json": [{}], "table": [["x"], [["y"]]], "raw": [b"x"]}
    with pytest.raises(OutputClosed):
        getattr(printer, act)(*arguments[act])
    with pytest.raises(BrokenPipeError):
        out.close()


def test_a_reader_that_left_while_a_table_is_drawn_is_noticed_too():
    class GoneTerminal(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(OutputClosed):
        console(GoneTerminal()).table(["x"], [["y"]])


def test_a_remark_that_nobody_can_read_ends_the_command_as_well():
    with pytest.raises(OutputClosed):
        console(Pipe(), Gone()).note("x")


def test_bytes_are_passed_on_as_they_are_after_what_was_printed():
    raw = io.BytesIO()
    printer = Console(io.TextIOWrapper(raw, encoding="utf-8"), Pipe(), environ={})
    printer.out.write("head ")
    printer.raw(b"\xff\x00")
    assert raw.getvalue() == b"head \xff\x00"


@given(text())
def test_no_text_whatever_gets_a_control_character_through(anything):
    for stream, environ in ((Terminal(), {}), (Pipe(), {}), (Terminal(), {"NO_COLOR": "1"})):
        console(stream, **environ).line(anything)
        assert stream.getvalue().endswith("\n")
        shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()[:-1])
        assert not any(unicodedata.category(character) == "Cc" for character in shown)


JSON = recursive(
    none() | booleans() | integers() | text(), lambda inner: lists(inner) | dictionaries(text(), inner)
)


@given(JSON, sampled_from(["utf-8", "ascii", "latin-1"]))
def test_every_json_value_is_read_back_as_it_was_from_one_line(value, encoding):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, newline="")
    Console(out, Pipe(), environ={}).json(value)
    printed = raw.getvalue().decode(encoding)
    assert json.loads(printed) == value
    assert printed.count("\n") == 1


@given(lists(lists(text(max_size=12), min_size=2, max_size=2), max_size=5))
def test_a_table_in_a_pipe_has_a_line_for_each_row_and_one_for_the_heads(rows):
    out = Pipe()
    console(out).table(["a", "b"], rows)
    assert out.getvalue().count("\n") == len(rows) + 1


def test_nobody_is_asked_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert console(Terminal(), Terminal()).confirm("Sure?") is None


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("no\n", False)]
)
def test_only_yes_is_yes(monkeypatch, answer, agreed):
    typed = Terminal(answer)
    err = Terminal()
    monkeypatch.setattr(sys, "stdin", typed)
    assert console(Pipe(), err).confirm("Sure?") is agreed
    assert err.getvalue() == "Sure? [y/N] "


def test_a_tree_is_drawn_with_a_branch_for_each_child():
    children = [("first", [("inner", [])]), ("second", [])]
    out = Pipe()
    for line in tree(children):
        console(out).line(line)
    assert out.getvalue().splitlines() == ["├─ first", "│  └─ inner", "└─ second"]


def test_a_name_has_one_colour_for_ever():
    assert color_of("task") == color_of("task") == "blue"
    assert len({color_of(name) for name in ("user", "task", "notification")}) > 1


def test_nothing_is_styled_by_nothing():
    assert style("x") == "x"
    assert style("", "red") == ""


def test_a_real_terminal_gets_colour_and_a_real_pipe_none():
    program = "from micro.console import Console, style; Console().line(style('x', 'red'))"
    environ = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    environ["TERM"] = "xterm"
    master, slave = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stdout=slave, env=environ, check=True)
    os.close(slave)
    assert os.read(master, 100) == b"\x1b[31mx\x1b[0m\r\n"
    os.close(master)
    piped = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environ, check=True)
    assert piped.stdout == b"x\n"


def test_rich_is_loaded_for_a_table_on_a_terminal_and_for_nothing_else():
    program = (
        "import sys; from micro.console import Console; c = Console(); c.line('x'); c.json({}); c.table(['a'], [['b']]);"
        "print('rich' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"
