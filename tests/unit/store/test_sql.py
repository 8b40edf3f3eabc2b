"""The scanner finds the parameters and the ends of statements, and nothing else."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from enum import IntEnum, StrEnum

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from micro.errors import ConstraintViolation, StoreError
from micro.store.sql import check_parameters, parse, split


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        ("select 1", ("select 1",)),
        ("select ?", ("select ", "")),
        ("? + ?", ("", " + ", "")),
        ("a ?? b", ("a ? b",)),
        ("a ???", ("a ?", "")),
        ("a ????", ("a ??",)),
        ("", ("",)),
    ],
)
def test_a_statement_is_cut_at_its_parameters(sql, pieces):
    assert parse(sql).pieces == pieces


@pytest.mark.parametrize(
    "quoted",
    [
        "'?'",
        "'it''s ?'",
        "'??'",
        "'never closed ?",
        '"na?me"',
        '"na""m?e"',
        '"never closed ?',
        "-- comment ?",
        "/* comment ? */",
        "/* a /* nested ? */ one ? */",
        "/* never closed ?",
        "/*/ ? */",
        r"E'back\'slash ?'",
        r"e'\\' 'and ?'",
        "$$ body ? ; $$",
        "$tag$ body ? $$ ? $tag$",
        "'-- ?' '/* ?'",
    ],
)
def test_nothing_is_read_inside_quotes_and_comments(quoted):
    statement = parse(f"select {quoted}")
    assert statement.pieces == (f"select {quoted}",)
    assert not statement.has_literal


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        ("select '' , ?", ("select '' , ", "")),
        ("select 'a' ? 'b'", ("select 'a' ", " 'b'")),
        ("-- a\n?", ("-- a\n", "")),
        ("/* a */?", ("/* a */", "")),
        ("x like'%\\' and ?", ("x like'%\\' and ", "")),
        ("a$b$c ? d$b$", ("a$b$c ", " d$b$")),
        ("a - - ? / * ?", ("a - - ", " / * ", "")),
        ("$1$ ? $1$", ("$1$ ", " $1$")),
    ],
)
def test_a_parameter_beside_quotes_and_comments_is_found(sql, pieces):
    assert parse(sql).pieces == pieces


@pytest.mark.parametrize(
    ("sql", "keyword"),
    [
        ("select 1", "SELECT"),
        ("  -- a comment\n /* another */ Insert into t", "INSERT"),
        ("(select 1)", "SELECT"),
        ("", ""),
        ("'text only'", ""),
        ("1 + 2", ""),
    ],
)
def test_the_keyword_is_the_first_word_of_the_code(sql, keyword):
    assert parse(sql).keyword == keyword


def test_statements_that_begin_as_queries_do_are_known():
    assert parse("with a as (select 1) select * from a").reads_only
    assert parse("values (1)").reads_only
    assert parse("show server_version").reads_only
    assert not parse("insert into t values (1)").reads_only
    assert not parse("").reads_only


@pytest.mark.parametrize(
    "sql", ["commit", "-- x\nROLLBACK", "/**/ pragma x", "Begin", "savepoint a", "attach 'x' as y"]
)
def test_statements_about_the_transaction_or_the_session_are_refused(sql):
    with pytest.raises(StoreError, match="store's business"):
        parse(sql)


def test_numbered_parameters_are_refused_and_long_statements_shortened_in_the_message():
    with pytest.raises(StoreError, match="plain") as caught:
        parse(f"select ?1 {'x' * 500}")
    assert len(str(caught.value)) < 200


def test_a_statement_is_read_once():
    assert parse("select ? as once") is parse("select ? as once")


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("a; b", ["a;", "b"]),
        ("a;b;", ["a;", "b;"]),
        ("", []),
        (" ; ;; -- nothing\n ; /* ; */", []),
        ("a ';' \";\" -- ;\n b; c", ["a ';' \";\" -- ;\n b;", "c"]),
        ("-- head\ncreate x; -- tail", ["-- head\ncreate x;"]),
        ("$$ a; b $$; c", ["$$ a; b $$;", "c"]),
        ("?; 'only a string'", ["?;", "'only a string'"]),
    ],
)
def test_a_script_is_split_at_its_semicolons(script, statements):
    assert split(script) == statements


# A statement made of known parts: what each adds to the text, and to what must be found.
_WORDS = st.sampled_from(
    ["a", "b1", "_c", "like", "x.y", "(", ")", ",", "=", "+", "1", "2.5", "\n", "\t", "Ä"]
)
_INSIDE = st.text(alphabet="ab?;'\"-/*$ \n\\", max_size=12)
_PARTS = st.one_of(
    _WORDS.map(lambda text: ("code", text)),
    st.just(("parameter", "?")),
    st.just(("literal", "??")),
    _INSIDE.map(lambda text: ("quoted", "'" + text.replace("'", "''") + "'")),
    _INSIDE.map(lambda text: ("quoted", '"' + text.replace('"', '""') + '"')),
    _INSIDE.map(lambda text: ("quoted", "/*" + text.replace("/", " / ") + " */")),
    _INSIDE.map(lambda text: ("quoted", "--" + text.replace("\n", "") + "\n")),
)


@settings(deadline=None)
@given(st.lists(_PARTS, max_size=20))
def test_however_parts_are_put_together_each_is_read_as_what_it_is(parts):
    try:
        statement = parse(" ".join(text for _, text in parts))
    except StoreError:
        pytest.fail("nothing in here is refused")
    expected = " ".join({"parameter": "\0", "literal": "?"}.get(kind, text) for kind, text in parts)
    assert "\0".join(statement.pieces) == expected
    assert statement.has_literal == any(kind == "literal" for kind, _ in parts)


@settings(deadline=None)
@given(st.text(alphabet="aE1?;'\"-/*$ \n\\", max_size=40))
def test_whatever_the_text_nothing_is_lost_and_reading_ends(sql):
    try:
        pieces = parse(sql).pieces
    except StoreError:
        return
    assert "?".join(pieces).replace("??", "?").replace("?", "") == sql.replace("?", "")
    at = 0
    for statement in split(sql):
        at = sql.index(statement, at) + len(statement)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab?'\"-/*; \n\\", max_size=10), max_size=6))
@example([";//**;", ""])
def test_sqlite_agrees_on_which_question_marks_are_parameters(texts):
    """Strings, names and comments of any content, with a parameter after each: every one gets its value."""
    columns = []
    for text in texts:
        string, name = text.replace("'", "''"), text.replace('"', '""')
        comment = text.replace("/", " / ")  # by themselves, or one could begin another comment, or end this
        columns.append(f"""'{string}', ? as "{name}" -- {text.replace(chr(10), "")}\n /*{comment} */""")
    sql = f"select {', '.join(columns) or 'null'}"
    statement = parse(sql)
    values = [f"value {number}" for number in range(len(texts))]
    assert len(statement.pieces) - 1 == len(values)
    with closing(sqlite3.connect(":memory:")) as connection:
        row = connection.execute("?".join(statement.pieces), values).fetchone()
    assert list(row[1::2]) == values
    assert list(row[0::2]) == (texts or [None])


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


@pytest.mark.parametrize(
    "value", [None, "", "text", 0, -5, 1.5, math.inf, b"", b"\0", Colour.RED, Size.BIG], ids=repr
)
def test_plain_values_are_taken(value):
    check_parameters(parse("select ?"), (value,))


@pytest.mark.parametrize("value", [True, False, object(), 1j, [], {}, bytearray(), memoryview(b"")], ids=repr)
def test_other_types_are_refused_by_name(value):
    with pytest.raises(StoreError, match=f"not {type(value).__name__}"):
        check_parameters(parse("select ?"), (value,))


@pytest.mark.parametrize("value", [math.nan, 1 << 63, -(1 << 63) - 1, "a\0b"], ids=repr)
def test_values_that_no_column_keeps_are_refused(value):
    with pytest.raises(ConstraintViolation, match="can't be stored"):
        check_parameters(parse("select ?"), (value,))


def test_a_wrong_number_of_parameters_is_refused_with_the_statement():
    with pytest.raises(StoreError, match=r"2 parameters expected, 1 given: select \?, \?"):
        check_parameters(parse("select ?, ?"), ("a",))
