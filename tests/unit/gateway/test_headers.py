"""Header fields as byte pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.headers import (
    FORWARDING,
    HOP_BY_HOP,
    IDENTITY,
    fields_of,
    length_of,
    read,
    returned,
    without_named,
)

NAMES = st.sampled_from(
    [
        b"host",
        b"accept",
        b"x-a",
        b"cookie",
        b"connection",
        b"te",
        b"x-forwarded-for",
        b"x-user-id",
        b"x_real_ip",
    ]
)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=10)
DROPPED = HOP_BY_HOP | FORWARDING | IDENTITY | {b"x_real_ip"}


@given(FIELDS)
def test_what_goes_on_keeps_its_order_and_duplicates(fields):
    _, kept = read(fields)
    assert list(kept) == [pair for pair in fields if pair[0] not in DROPPED]


@given(FIELDS)
def test_every_field_is_found_with_all_its_values(fields):
    found, _ = read(fields)
    assert found.keys() == {name for name, _ in fields}
    for name, value in found.items():
        assert value == b", ".join(each for key, each in fields if key == name)


@given(FIELDS)
def test_the_servers_list_is_never_changed(fields):
    before = list(fields)
    read(fields)
    returned(fields)
    assert fields == before


def test_a_list_of_which_all_goes_on_is_not_copied():
    fields = [(b"host", b"a"), (b"accept", b"b"), (b"accept", b"c")]
    assert read(fields)[1] is fields


@given(FIELDS)
def test_no_field_of_a_connection_comes_back(fields):
    kept, _ = returned(fields)
    assert not HOP_BY_HOP & {name for name, _ in kept}


def test_what_comes_back_is_a_list_of_its_own():
    fields = [(b"x-a", b"1")]
    kept, _ = returned(fields)
    kept.append((b"x-b", b"2"))
    assert fields == [(b"x-a", b"1")]


def test_an_answer_without_fields_has_none():
    assert returned([]) == ([], None)


def test_the_length_of_an_answer_is_found_and_stays():
    fields = [(b"content-length", b"5"), (b"date", b"x")]
    assert returned(fields) == ([(b"content-length", b"5")], b"5")


def test_a_repeated_length_of_an_answer_is_no_number():
    _, length = returned([(b"content-length", b"5"), (b"Content-Length", b"5")])
    assert length == b"5, 5"
    assert length_of(length) is None


def test_a_repeated_field_does_not_spoil_the_length():
    assert returned([(b"set-cookie", b"a"), (b"content-length", b"5"), (b"set-cookie", b"b")])[1] == b"5"


def test_connection_names_fields_without_case_and_spaces():
    fields = [(b"x-a", b"1"), (b"x-b", b"2"), (b"host", b"h"), (b"content-length", b"0")]
    assert without_named(fields, b" X-A ,x-c,, HOST, content-length") == fields[1:]


@given(st.integers(0, 10**18 - 1))
def test_a_length_is_read_as_its_number(number):
    assert length_of(str(number).encode()) == number
    assert length_of(b"0" + str(number).encode()[:17]) is not None


@given(st.binary(max_size=20).filter(lambda raw: not (raw.isdigit() and len(raw) <= 18)))
def test_nothing_else_is_a_length(raw):
    assert length_of(raw) is None


@pytest.mark.parametrize(
    "name", [b"content_length", b"transfer-encoding", b"transfer_encoding", b"x-forwarded_for"]
)
def test_a_spelling_that_some_server_takes_for_another_field_does_not_go_on(name):
    assert read([(name, b"1")])[1] == []


@given(st.lists(st.tuples(NAMES, st.text('ab: ;="', max_size=9).map(str.encode))))
def test_ready_lines_are_the_fields_that_they_were_made_of(fields):
    assert fields_of(b"".join(b"%b: %b\r\n" % pair for pair in fields)) == fields
