"""An answer with the head of the one before is read as if it were the first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.answer import MAX_KNOWN, AnswerReader
from micro.gateway.upstream.ports import UpstreamError

HEAD = b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive\r\n%bContent-Length: 5\r\n\r\n"
PLAIN = HEAD % b""


def said(reader):
    return (
        reader.status,
        reader.fields,
        reader.length,
        reader.take(),
        reader.done,
        reader.keep,
        reader.until_end,
    )


def read(reader, *pieces, mute=False):
    reader.begin(mute=mute)
    for piece in pieces:
        reader.feed(piece)
    return said(reader)


@pytest.fixture
def reader():
    """One that has just read a whole answer."""
    reader = AnswerReader()
    read(reader, PLAIN + b"first")
    return reader


def test_the_next_answer_says_the_same_with_a_body_of_its_own(reader):
    again = read(reader, PLAIN + b"other")
    assert again == read(AnswerReader(), PLAIN + b"other")
    assert again[3] == b"other"


def test_what_a_policy_does_to_its_fields_is_not_seen_by_the_next_one(reader):
    reader.begin()
    reader.feed(PLAIN + b"other")
    reader.fields.append((b"x-more", b"1"))
    reader.take()
    assert read(reader, PLAIN + b"third") == read(AnswerReader(), PLAIN + b"third")


@pytest.mark.parametrize(
    "data",
    [
        HEAD % b"Date: now\r\n" + b"other",
        HEAD.replace(b"200", b"500") % b"" + b"other",
        PLAIN.replace(b"keep-alive", b"close") + b"other",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ],
)
def test_another_head_is_read_for_itself(reader, data):
    again = read(reader, data)
    assert again == read(AnswerReader(), data)
    if again[5]:  # the connection goes on
        assert read(reader, PLAIN + b"third") == read(AnswerReader(), PLAIN + b"third")


@given(st.integers(1, len(PLAIN) + 4))
def test_the_same_answer_in_two_pieces_is_the_same_answer(cut):
    reader, data = AnswerReader(), PLAIN + b"other"
    read(reader, data)
    assert read(reader, data[:cut], data[cut:]) == read(AnswerReader(), data)


@pytest.mark.parametrize("more", [b"!", b"\r\n", PLAIN + b"third"])
def test_what_comes_behind_it_makes_the_connection_useless(reader, more):
    assert read(reader, PLAIN + b"other" + more)[4:6] == (True, False)


def test_an_answer_that_is_too_short_is_not_whole(reader):
    reader.begin()
    reader.feed(PLAIN + b"othe")
    assert not reader.done
    with pytest.raises(UpstreamError) as caught:
        reader.end()
    assert caught.value.kind == "http_response_incomplete"


def test_an_answer_to_head_has_no_body_whatever_its_head_says(reader):
    assert read(reader, PLAIN, mute=True)[3:6] == (b"", True, True)
    assert read(reader, PLAIN + b"other", mute=True)[4:6] == (True, False)


def test_it_may_follow_an_interim_answer(reader):
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    assert read(reader, interim, PLAIN + b"other") == read(AnswerReader(), PLAIN + b"other")


def test_a_large_head_is_not_kept():
    reader = AnswerReader()
    data = HEAD % (b"X-Large: %b\r\n" % (b"a" * MAX_KNOWN)) + b"hello"
    assert read(reader, data) == read(reader, data) == read(AnswerReader(), data)
