"""Entity tags and If-Match, by RFC 9110 section 13.1.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from micro.web.etag import check_if_match, etag_of
from micro.web.problems import Problem


def request(*fields: bytes) -> Request:
    return Request({"type": "http", "headers": [(b"if-match", field) for field in fields]})


def allowed(*fields: bytes) -> bool:
    try:
        check_if_match(request(*fields), etag_of(3))
    except Problem as problem:
        return problem.status != 412
    return True


def test_a_tag_is_strong_and_quoted():
    """As RFC 9110 section 8.8.3 writes it."""
    assert etag_of(3) == '"3"'


def test_without_a_condition_the_change_is_taken():
    """Nobody asked for it to be guarded."""
    assert allowed()


@pytest.mark.parametrize(
    "field",
    [
        b'"3"',
        b' "3" ',
        b'"1", "3"',
        b'"3","1"',
        b'"1" ,\t"3"',
        b', "3",,',
        b"*",
        b" * ",
        b'W/"3", "3"',
        b'"a,b", "3"',
    ],
)
def test_a_condition_that_holds(field):
    """The tag itself, in a list, or any."""
    assert allowed(field)


@pytest.mark.parametrize(
    "field",
    [
        b'"4"',
        b"3",
        b'W/"3"',
        b'w/"3"',
        b'"3',
        b'3"',
        b"",
        b" ",
        b",",
        b'"1" "3"',
        b'"1""3"',
        b'"a, "3"',
        b'"3"; x',
        b'*, "4"',
        b"**",
        b'"3\x00"',
        b'"\x7f", "3"',
        b"'3'",
    ],
)
def test_a_condition_that_does_not_hold(field):
    """Another version, a weak tag, and whatever is malformed: never taken for a match."""
    assert not allowed(field)


def test_several_fields_are_one_list():
    """RFC 9110 section 5.3."""
    assert allowed(b'"1"', b'"3"')
    assert not allowed(b'"1"', b'"2"')


def test_a_refusal_tells_the_present_tag():
    """So the client sees that it is behind."""
    with pytest.raises(Problem) as caught:
        check_if_match(request(b'"2"'), '"3"')
    assert caught.value.headers == {"ETag": '"3"'}


@given(st.binary(max_size=60))
def test_only_what_contains_the_tag_or_a_star_holds(field):
    """For any bytes, and in time."""
    if allowed(field):
        assert b'"3"' in field or field.strip(b" \t") == b"*"
