"""Bodies in chunks: decoded wherever the bytes are cut, and refused where they are not by the letter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.web.problems import Problem
from micro.web.server.chunks import MAX_EXTENSIONS, MAX_TRAILERS, Chunks

BODY = b"4;a=b\r\nwiki\r\n5 ; x\r\npedia\r\nB\r\n 0123456789\r\n0\r\nA: b\r\nC:\r\n\r\n"


def decoded(*parts):
    chunks = Chunks()
    pieces = [piece for part in parts for piece in chunks.feed(part)]
    assert all(pieces)
    return chunks, b"".join(pieces)


def test_extensions_and_trailers_are_dropped():
    chunks, body = decoded(BODY)
    assert body == b"wikipedia 0123456789"
    assert chunks.done
    assert chunks.rest == b""


def test_what_comes_behind_is_kept():
    chunks, _ = decoded(b"0\r\n\r\nGET / HTTP/1.1")
    assert chunks.done
    assert chunks.rest == b"GET / HTTP/1.1"


@pytest.mark.parametrize("cut", range(1, len(BODY)))
def test_it_does_not_matter_where_the_bytes_are_cut(cut):
    chunks, body = decoded(BODY[:cut], BODY[cut:])
    assert (chunks.done, body) == (True, b"wikipedia 0123456789")


def test_bytes_may_come_one_by_one():
    chunks, body = decoded(*(BODY[at : at + 1] for at in range(len(BODY))))
    assert (chunks.done, body) == (True, b"wikipedia 0123456789")


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=8), cuts=st.lists(st.integers(0, 400)))
def test_every_body_comes_out_as_it_went_in(pieces, cuts):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\nrest"
    marks = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    chunks, body, behind = Chunks(), b"", b""
    for start, end in pairwise(marks):
        if chunks.done:
            behind += wire[start:end]
        else:
            body += b"".join(chunks.feed(wire[start:end]))
            behind = chunks.rest
    assert (chunks.done, body, behind) == (True, b"".join(pieces), b"rest")


BAD = [
    b"\r\n",
    b"g\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x1\r\n",
    b"1_0\r\n",
    b" 1\r\n",
    b"1 \r\n",
    b"1\t\r\n",
    b"1\n",
    b"1\na\r\n",
    b"1\r\r\n",
    b"1\ra\r\n",
    b"1\0\r\n",
    b"1;a\0\r\n",
    b"1;a\nb\r\n",
    b"1;a\rb\r\n",
    b"1,\r\n",
    b"f" * 16 + b"\r\n",
    b"1\r\na\n",
    b"1\r\nab\r\n",
    b"1\r\na\r\r\n",
    b"1\r\naXX",
    b"1\r\na0\r\n\r\n",
    b"0\r\nA\r\n\r\n",
    b"0\r\n: b\r\n\r\n",
    b"0\r\nA : b\r\n\r\n",
    b"0\r\nA: b\r\n c\r\n\r\n",
    b"0\r\nA: b\nC: d\r\n\r\n",
    b"0\r\nA: \0\r\n\r\n",
    b"0\r\n\n",
    b"1;" + b"a" * 600,
    b"1;" + b"a" * 600 + b"\r\n",
]


@pytest.mark.parametrize("data", BAD)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_not_by_the_letter_is_400(data, whole):
    parts = [data] if whole else [data[at : at + 1] for at in range(len(data))]
    with pytest.raises(Problem) as caught:
        decoded(*parts, b"\r\n\r\n")
    assert caught.value.status == 400


def test_a_body_has_few_bytes_of_extensions():
    line = b"1;%s\r\na\r\n" % (b"x" * 500)
    with pytest.raises(Problem) as caught:
        decoded(line * (MAX_EXTENSIONS // 500 + 1))
    assert caught.value.status == 400


@pytest.mark.parametrize("trailers", [b"A: b\r\n" * (MAX_TRAILERS // 6 + 1), b"A: " + b"b" * MAX_TRAILERS])
def test_trailers_are_bounded(trailers):
    with pytest.raises(Problem) as caught:
        decoded(b"0\r\n" + trailers)
    assert caught.value.status == 431
