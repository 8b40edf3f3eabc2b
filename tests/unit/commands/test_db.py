"""`micro db …` against a stack that answers as told."""

from __future__ import annotations

import os
import pty

import pytest

from micro.commands.db import statements

APPLIED = {"service": "task", "number": 1, "name": "tasks", "applied_at": "2026-01-01T12:00:00.000Z"}
PENDING = {"service": "task", "number": 2, "name": "more", "applied_at": None}
ROWS = {"columns": ["id", "title"], "rows": [[1, "Milk"], [2, None]], "changed": 0}


def test_migrate_lists_what_it_applied(micro, stack):
    stack.answers["db.migrate"] = [{"end": {"items": [PENDING]}}]
    code, out, _ = micro("db", "migrate", "--service", "task")
    assert code == 0
    assert out.splitlines() == ["SERVICE  NUMBER  NAME", "task     0002    more"]
    assert stack.asked == [("db.migrate", {"service": "task"})]
    assert micro("db", "migrate", "--json").json == {"items": [PENDING]}


def test_migrate_with_nothing_to_do_says_so(micro, stack):
    stack.answers["db.migrate"] = [{"end": {"items": []}}]
    assert micro("db", "migrate") == (0, "", "nothing to apply: all is up to date\n")


@pytest.mark.parametrize(("items", "code"), [([APPLIED], 0), ([APPLIED, PENDING], 1), ([], 0)])
def test_status_exits_with_1_while_something_is_pending(micro, stack, items, code):
    stack.answers["db.status"] = [{"end": {"items": items}}]
    result = micro("db", "status")
    assert result.code == code
    assert ("pending" in result.out) is (code == 1)
    assert micro("db", "status", "--json").json == {"items": items}


def test_a_statement_s_rows_are_a_table(micro, stack):
    stack.answers["db.query"] = [{"end": ROWS}]
    code, out, err = micro("db", "shell", "task", "select * from tasks")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["ID  TITLE", "1   Milk", "2   NULL"]
    assert stack.asked == [("db.query", {"service": "task", "sql": "select * from tasks", "write": False})]
    assert micro("db", "shell", "task", "select 1", "--json").json == ROWS


@pytest.mark.parametrize(
    ("answer", "flags", "said"),
    [
        ({"columns": [], "rows": [], "changed": 1}, ["--write"], "1 row changed\n"),
        ({"columns": [], "rows": [], "changed": 0}, [], "no rows\n"),
        ({**ROWS, "truncated": 20_000}, [], "only the first 2 of 20000 rows are shown\n"),
    ],
)
def test_what_is_no_row_is_said_outside_the_data(micro, stack, answer, flags, said):
    stack.answers["db.query"] = [{"end": answer}]
    assert micro("db", "shell", "task", "…", *flags).err == said


def test_statements_are_read_from_a_pipe_up_to_the_first_that_fails(micro_process, stack):
    stack.answers["db.query"] = [{"end": ROWS}]
    process = micro_process("db", "shell", "task", stdin=-1, text=True)
    out, _ = process.communicate("select 1; select\n2;\nselect ';' -- ;\n", timeout=60)
    assert process.returncode == 0
    assert out.count("Milk") == 3
    assert [args["sql"] for _, args in stack.asked] == ["select 1;", "select\n2;", "select ';' -- ;"]


def test_a_failing_statement_ends_a_pipe(micro_process, stack):
    stack.answers["db.query"] = [{"error": {"kind": "usage", "message": "task: no such table: x"}}]
    process = micro_process("db", "shell", "task", stdin=-1, text=True)
    _, err = process.communicate("select * from x; select 1;", timeout=60)
    assert process.returncode == 2
    assert err == "error: task: no such table: x\n"
    assert len(stack.asked) == 1


def test_on_a_terminal_a_failing_statement_is_told_and_the_next_one_read(micro_process, stack):
    stack.answers["db.query"] = [{"error": {"kind": "usage", "message": "no such table"}}]
    master, slave = pty.openpty()
    process = micro_process("db", "shell", "task", stdin=slave, stdout=slave, stderr=slave)
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(master, 1000)
        shown = shown.partition(text)[2]

    with process:
        os.close(slave)
        read_until(b"read-only; end with Ctrl-D")
        for _ in range(2):
            read_until(b"task> ")
            os.write(master, b"select 1;\n")
            read_until(b"no such table")
        read_until(b"task> ")
        os.write(master, b"\x04")
        assert process.wait(60) == 0
    os.close(master)
    assert len(stack.asked) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n \n", []),
        ("select 1", ["select 1"]),
        ("select 1; select 2;", ["select 1;", "select 2;"]),
        ("select ';';", ["select ';';"]),
        ("select 1 -- a; b\n;", ["select 1 -- a; b\n;"]),
        ("create trigger t begin select 1; end;", ["create trigger t begin select 1; end;"]),
    ],
)
def test_a_semicolon_ends_a_statement_where_it_is_one(text, expected):
    assert list(statements(text.splitlines(keepends=True))) == expected
