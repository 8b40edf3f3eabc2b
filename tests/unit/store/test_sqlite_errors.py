"""Each of SQLite's errors becomes the error of ours that says what it means."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from micro.errors import ConstraintViolation, StoreError, StoreUnavailable, UniqueViolation
from micro.store.sqlite_errors import DRIVER_ERRORS, is_refused_write, translate

PATH = Path("it.db")
SCHEMA = """
    pragma foreign_keys = on;
    create table parent (id integer primary key, name text unique, code text not null check (code <> ''), size integer) strict;
    create table child (parent integer references parent (id)) strict;
    create table pair (a text, b text, primary key (a, b)) strict, without rowid;
    insert into parent values (1, 'one', 'x', 1);
    insert into pair values ('a', 'b');
    create trigger no_nine before insert on parent when new.id = 9 begin select raise(abort, 'not nine'); end;
"""


@pytest.fixture
def connection():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    yield connection
    connection.close()


def failure(connection, sql, *parameters):
    with pytest.raises(DRIVER_ERRORS) as caught:
        connection.execute(sql, parameters).fetchall()
    return caught.value


@pytest.mark.parametrize(
    ("sql", "kind", "says"),
    [
        ("insert into parent values (1, 'two', 'x', 1)", UniqueViolation, "parent.id"),
        ("insert into parent values (2, 'one', 'x', 1)", UniqueViolation, "parent.name"),
        ("insert into pair values ('a', 'b')", UniqueViolation, "pair.a, pair.b"),
        ("insert into parent (rowid, code) values (1, 'x')", UniqueViolation, "parent.id"),
        ("insert into parent values (2, 'two', null, 1)", ConstraintViolation, "parent.code"),
        ("insert into parent values (2, 'two', '', 1)", ConstraintViolation, "CHECK"),
        (
            "insert into parent values (2, 'two', 'x', 'large')",
            ConstraintViolation,
            "INTEGER column parent.size",
        ),
        ("insert into child values (7)", ConstraintViolation, "FOREIGN KEY"),
        ("insert into parent values (9, 'nine', 'x', 1)", ConstraintViolation, "not nine"),
        ("insert into parent (id, code) values ('seven', 'x')", ConstraintViolation, "mismatch|parent.id"),
        ("select * from nowhere", StoreError, "no such table: nowhere"),
        ("selec", StoreError, "syntax error"),
        ("select 1; select 2", StoreError, "one statement at a time"),
        ("select zeroblob(2000000000)", ConstraintViolation, "too large|too big"),
    ],
)
def test_what_a_statement_fails_with_is_named(connection, sql, kind, says):
    error = translate(failure(connection, sql), PATH)
    assert type(error) is kind
    assert str(error).startswith("it.db: ")
    with pytest.raises(kind, match=says):
        raise error


@pytest.mark.parametrize(("value", "says"), [(1 << 70, "64 bits"), ("\udfff", "lone surrogate")])
def test_a_value_that_can_not_be_bound_is_a_constraint_violation(connection, value, says):
    error = translate(failure(connection, "select ?", value), PATH)
    assert type(error) is ConstraintViolation
    assert says in str(error)


def test_a_file_that_may_not_be_written_is_unavailable(tmp_path):
    sqlite3.connect(tmp_path / "it.db").close()
    connection = sqlite3.connect(f"file:{tmp_path}/it.db?mode=ro", uri=True)
    error = translate(failure(connection, "create table t (id text)"), PATH)
    connection.close()
    assert type(error) is StoreUnavailable
    assert "permissions" in str(error)


def test_a_connection_told_not_to_write_is_recognised(connection):
    connection.execute("pragma query_only = on")
    assert is_refused_write(failure(connection, "delete from pair"))
    assert not is_refused_write(failure(connection, "selec"))
    assert not is_refused_write(None)


def test_a_path_that_can_not_be_opened_is_unavailable(tmp_path):
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(tmp_path / "missing" / "it.db")
    assert isinstance(translate(caught.value, PATH), StoreUnavailable)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_BUSY", StoreUnavailable),
        ("SQLITE_BUSY_SNAPSHOT", StoreUnavailable),
        ("SQLITE_LOCKED", StoreUnavailable),
        ("SQLITE_FULL", StoreUnavailable),
        ("SQLITE_IOERR_WRITE", StoreUnavailable),
        ("SQLITE_NOMEM", StoreUnavailable),
        ("SQLITE_PERM", StoreUnavailable),
        ("SQLITE_INTERRUPT", StoreUnavailable),
        ("SQLITE_CORRUPT_INDEX", StoreError),
        ("SQLITE_NOTADB", StoreError),
        ("SQLITE_MISUSE", StoreError),
    ],
)
def test_extended_codes_mean_what_their_primary_code_means(name, kind):
    error = sqlite3.OperationalError("what SQLite said")
    error.sqlite_errorcode = getattr(sqlite3, name)
    translated = translate(error, PATH)
    assert type(translated) is kind
    assert str(translated).endswith("what SQLite said")


def test_an_error_without_a_code_is_a_store_error():
    assert type(translate(sqlite3.ProgrammingError("odd"), PATH)) is StoreError
    assert type(translate(sqlite3.DataError("string or blob too big"), PATH)) is ConstraintViolation
