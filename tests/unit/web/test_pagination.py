"""Pages and cursors."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.web.pagination import Items, decode_cursor, encode_cursor, page_of
from micro.web.problems import Problem
from micro.web.text import is_clean

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(st.lists(text, min_size=1, max_size=4))
def test_a_cursor_gives_back_its_key(key):
    """Whatever the texts are."""
    assert decode_cursor(encode_cursor(*key), parts=len(key)) == tuple(key)


@given(st.lists(text, min_size=1, max_size=4))
def test_a_cursor_can_stand_in_a_url(key):
    """Without escaping."""
    assert set(encode_cursor(*key)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_no_cursor_is_the_first_page():
    """There is no key then."""
    assert decode_cursor(None) is None


def raw(document: bytes) -> str:
    return base64.urlsafe_b64encode(document).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "a",
        "abc",
        "é",
        "\ud800",
        "WyJ4Il0 ",
        raw(b""),
        raw(b"[]"),
        raw(b"{}"),
        raw(b"[1]"),
        raw(b'["a","b"]'),
        raw(b'["\\u0000"]'),
        raw(b'["\\ud800"]'),
        raw(b'["\xff"]'),
        raw(b"[" * 100_000),
        raw(b'["a"'),
    ],
)
def test_anything_else_is_422(cursor):
    """A cursor of another list, a mangled one, an invented one."""
    with pytest.raises(Problem) as caught:
        decode_cursor(cursor)
    assert caught.value.status == 422
    assert [fault["pointer"] for fault in caught.value.errors] == ["/cursor"]


@given(st.text(max_size=60))
def test_no_cursor_makes_anything_but_a_key_or_a_problem(cursor):
    """And a key can always be given to a store."""
    try:
        key = decode_cursor(cursor)
    except Problem:
        return
    assert all(map(is_clean, key))


def test_a_full_page_with_more_behind_it_has_a_cursor():
    """Of its last item; the extra row is not shown."""
    page = page_of(["a", "b", "c"], 2, lambda row: (row,))
    assert page.items == ["a", "b"]
    assert decode_cursor(page.next_cursor) == ("b",)


@pytest.mark.parametrize("rows", [[], ["a"], ["a", "b"]])
def test_the_last_page_has_no_cursor(rows):
    """Also when it is just full."""
    assert page_of(rows, 2, lambda row: (row,)) == Items(rows, None)


def test_a_page_in_json():
    """`next_cursor` is null, not absent."""
    assert msgspec.json.encode(page_of([], 2, lambda row: (row,))) == b'{"items":[],"next_cursor":null}'
