"""What is read of an instance's bytes, and what is refused (gateway.md S3, S5, S6, S7, S8, S11, B1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.headers import returned
from micro.gateway.upstream.answer import MAX_HEAD, AnswerReader
from micro.gateway.upstream.parsed import MAX_INTERIM
from micro.gateway.upstream.ports import UpstreamError

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Read:
    """All that a reader gave."""

    def __init__(self, data, *, mute=False, step=0):
        self.reader = reader = AnswerReader()
        reader.begin(mute=mute)
        self.body = b""
        self.interim = []
        for piece in [data] if not step else [data[at : at + step] for at in range(0, len(data), step)]:
            reader.feed(piece)
            self.body += reader.take()
            self.interim += reader.interim
            reader.interim.clear()

    def __getattr__(self, name):
        return getattr(self.reader, name)


def kind(data, **how):
    """The error type that it is refused with; by whole pieces and byte by byte."""
    kinds = set()
    for step in (0, 1):
        with pytest.raises(UpstreamError) as caught:
            Read(data, step=step, **how)
        kinds.add(caught.value.kind)
    (one,) = kinds
    return one


@pytest.mark.parametrize("step", [0, 1, 2, 7])
@pytest.mark.parametrize(
    ("data", "status", "length", "body", "keep"),
    [
        (HEAD + b"content-length: 5\r\n\r\nhello", 200, 5, b"hello", True),
        (HEAD + b"content-length:\t5 \t\r\n\r\nhello", 200, 5, b"hello", True),
        (HEAD + b"content-length: 0\r\n\r\n", 200, 0, b"", True),
        (HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", 200, 2, b"hi", False),
        (HEAD + b"connection: x, Close\r\ncontent-length: 2\r\n\r\nhi", 200, 2, b"hi", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, 2, b"hi", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", 200, 2, b"hi", True),
        (CHUNKED + b"5\r\nhello\r\n1;a=b\r\n!\r\n" + LAST, 200, None, b"hello!", True),
        (CHUNKED + b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", 200, None, b"hello", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, 0, b"", True),
        (b"HTTP/1.1 599\r\ncontent-length: 1\r\n\r\nx", 599, 1, b"x", True),
    ],
)
def test_an_answer_is_read_whole_in_whatever_pieces_it_comes(step, data, status, length, body, keep):
    read = Read(data, step=step)
    assert (read.status, read.length, read.body, read.done, read.keep) == (status, length, body, True, keep)


def test_a_body_without_a_length_ends_with_the_connection():
    read = Read(HEAD + b"\r\nhello")
    assert (read.length, read.body, read.done, read.until_end) == (None, b"hello", False, True)
    read.reader.end()
    assert (read.done, read.keep) == (True, False)


def test_several_answers_are_read_one_after_the_other():
    reader = AnswerReader()
    for body in (b"one", b"three"):
        reader.begin()
        reader.feed(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert (reader.take(), reader.done, reader.keep) == (body, True, True)


@pytest.mark.parametrize("step", [0, 1])
def test_an_answer_to_head_has_the_length_of_get_s_and_no_body(step):
    read = Read(HEAD + b"content-length: 500\r\n\r\n", mute=True, step=step)
    assert (read.length, read.done, read.keep) == (0, True, True)
    assert dict(read.fields) == {b"content-length": b"500"}
    read.reader.begin()
    read.reader.feed(HEAD + b"content-length: 2\r\n\r\nhi")
    assert (read.reader.take(), read.reader.keep) == (b"hi", True)


def test_a_body_behind_an_answer_to_head_is_not_passed_on_and_spoils_the_connection():
    read = Read(HEAD + b"content-length: 2\r\n\r\nhi", mute=True)
    assert (read.body, read.done, read.keep) == (b"", True, False)


def test_204_has_no_length_and_304_keeps_its_own():
    assert Read(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nx: y\r\n\r\n").fields == [(b"x", b"y")]
    kept = Read(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n").fields
    assert kept == [(b"content-length", b"7")]


@pytest.mark.parametrize("step", [0, 1])
def test_interim_answers_come_before_the_final_one(step):
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 9\r\n\r\n"
    read = Read(data + HEAD + b"content-length: 2\r\n\r\nhi", step=step)
    assert read.interim == [(100, []), (103, [(b"link", b"</a>")])]
    assert (read.status, read.fields, read.body) == (200, [(b"content-length", b"2")], b"hi")


def test_interim_answers_without_end_are_refused():
    assert kind(b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INTERIM + 1)) == "http_protocol_error"


def test_an_interim_answer_of_another_version_is_refused():
    assert (
        kind(b"HTTP/1.1 100 C\r\n\r\nHTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n") == "http_protocol_error"
    )


@pytest.mark.parametrize("step", [0, 1])
def test_after_101_the_rest_is_no_http(step):
    data = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    read = Read(data, step=step)
    assert (read.status, read.length, read.done) == (101, None, True)
    assert Read(data + b"\x81\x02hi").rest == b"\x81\x02hi"


def test_fields_come_in_lower_case_without_those_of_the_connection():
    data = (
        b"X-A: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\nDate: now\r\nX-Request-ID: theirs\r\nKeep-Alive: timeout=5\r\n"
        b"Connection: keep-alive, X-Hop\r\nconnection: X-Other\r\nX-Hop: 1\r\nX-Other: 2\r\nProxy-Authenticate: x\r\n"
    )
    read = Read(HEAD + data + b"Content-Length: 0\r\n\r\n")
    assert read.fields == [
        (b"x-a", b"1"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"0"),
    ]


NAMES = st.sampled_from(
    [
        b"X-A",
        b"x-a",
        b"Server",
        b"Date",
        b"Connection",
        b"Keep-Alive",
        b"Set-Cookie",
        b"Upgrade",
        b"X-Request-ID",
        b"TE",
    ]
)


@given(st.lists(st.tuples(NAMES, st.sampled_from([b"", b"a", b"x-a", b"close, Server"])), max_size=8))
def test_the_fields_are_those_that_the_other_upstream_gives(pairs):
    wire = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    read = Read(HEAD + wire + b"content-length: 0\r\n\r\n")
    expected, _ = returned([*pairs, (b"content-length", b"0")])
    assert read.fields == expected


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"ICE/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"<html>an answer of HTTP/0.9</html>",
        b"\r\n" + HEAD + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 1000 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 2x0 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        HEAD + b"content-length: 0\n\r\n",
        HEAD + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        HEAD + b" x: a\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"x : a\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"x: a\rb\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"x\xff: a\r\ncontent-length: 0\r\n\r\n",
        HEAD + b": a\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"nonsense\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        HEAD + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        HEAD + b"content-length: 5, 5\r\n\r\nhello",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + LAST,
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n" + LAST,
        HEAD + b"content-length: 18446744073709551615\r\n\r\n",
        *(
            HEAD + b"content-length: " + value + b"\r\n\r\n"
            for value in (b"+5", b"-5", b"5_0", b"0x5", b"", b"5 5", b"\xb2")
        ),
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + LAST,
        *(
            CHUNKED + size + b"\r\nhello\r\n" + LAST
            for size in (b"0x5", b"+5", b"-5", b"0_5", b" 5", b"5 ", b"", b"g")
        ),
        CHUNKED + b"FFFFFFFFFFFFFFFF5\r\n",
        CHUNKED + b"5;a\0\r\nhello\r\n" + LAST,
        CHUNKED + b"5;a\rb\r\nhello\r\n" + LAST,
        CHUNKED + b"5\nhello\r\n" + LAST,
        CHUNKED + b"5\r\nhello\n" + LAST,
        CHUNKED + b"5\r\nhelloXX\r\n" + LAST,
        CHUNKED + b"5\r\nhello\r\n0\r\nx: a\r\n b\r\n\r\n",
        CHUNKED + b"5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n",
    ],
)
def test_what_two_readers_could_understand_differently_is_no_answer(data):
    assert kind(data) == "http_protocol_error"


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b",chunked", b"identity", b"xchunked"],
)
def test_the_only_transfer_coding_is_chunked(coding):
    data = HEAD + b"transfer-encoding: " + coding + b"\r\n\r\n" + LAST
    assert kind(data) == "http_response_transfer_coding"


def test_two_fields_of_transfer_codings_are_two_codings():
    data = HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + LAST
    assert kind(data) == "http_response_transfer_coding"


@pytest.mark.parametrize("step", [0, 1000])
def test_a_head_has_a_bound(step):
    data = HEAD + b"x: " + b"a" * MAX_HEAD + b"\r\ncontent-length: 0\r\n\r\n"
    with pytest.raises(UpstreamError) as caught:
        Read(data, step=step)
    assert caught.value.kind == "http_response_header_section_size"


def test_a_large_body_in_one_piece_with_its_head_is_no_large_head():
    read = Read(HEAD + b"content-length: %d\r\n\r\n" % (2 * MAX_HEAD) + b"a" * (2 * MAX_HEAD))
    assert len(read.body) == 2 * MAX_HEAD


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (CHUNKED + b"5;" + b"a" * (2 * MAX_HEAD), "http_protocol_error"),
        (CHUNKED + b"0\r\n" + b"x: y\r\n" * MAX_HEAD, "http_response_trailer_section_size"),
    ],
)
def test_chunk_extensions_and_trailers_have_a_bound(data, expected):
    with pytest.raises(UpstreamError) as caught:
        Read(data, step=1000)
    assert caught.value.kind == expected


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"content-length: 5\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n" + LAST,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        HEAD + b"content-length: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("rest", [b"\r\n", b"x", HEAD + b"set-cookie: evil=1\r\ncontent-length: 0\r\n\r\n"])
def test_what_follows_a_complete_answer_is_not_passed_on_and_spoils_the_connection(answer, rest):
    alone, read = Read(answer), Read(answer + rest)
    assert (read.status, read.fields, read.body) == (alone.status, alone.fields, alone.body)
    assert (read.done, read.keep) == (True, False)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "connection_terminated"),
        (b"HTTP/1.1 20", "http_response_incomplete"),
        (HEAD + b"content-length: 5\r\n\r\nhell", "http_response_incomplete"),
        (CHUNKED + b"5\r\nhello\r\n", "http_response_incomplete"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", "http_response_incomplete"),
    ],
)
def test_an_answer_that_is_cut_off_is_not_complete(data, expected):
    reader = AnswerReader()
    if data:
        reader.feed(data)
    with pytest.raises(UpstreamError) as caught:
        reader.end()
    assert caught.value.kind == expected


SAME = HEAD + b"x: y\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize(
    ("second", "status", "length", "keep"),
    [
        (SAME + b"world", 200, 5, True),
        (SAME + b"world!", 200, 5, False),
        (SAME.replace(b"200", b"404") + b"world", 404, 5, True),
        (HEAD + b"x: y\r\ncontent-length: 2\r\n\r\nhi", 200, 2, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, True),
    ],
)
def test_an_answer_is_read_alike_whether_its_head_is_that_of_the_one_before_or_not(
    second, status, length, keep
):
    reader = Read(SAME + b"hello").reader
    for _ in range(2 if keep else 1):
        reader.begin()
        reader.feed(second)
        assert (reader.status, reader.length, reader.done, reader.keep) == (status, length, True, keep)
        assert reader.take() == second.partition(b"\r\n\r\n")[2][:length]


def test_the_fields_of_answers_with_one_head_are_each_the_caller_s_own():
    reader = Read(SAME + b"hello").reader
    for _ in range(2):
        reader.begin()
        reader.feed(SAME + b"world")
        assert reader.fields == [(b"x", b"y"), (b"content-length", b"5")]
        reader.fields.clear()
        reader.take()


def test_the_end_of_a_head_is_not_taken_for_a_head():
    reader = AnswerReader()
    for piece in (SAME[:20], SAME[20:] + b"hello"):
        reader.feed(piece)
    reader.take()
    reader.begin()
    with pytest.raises(UpstreamError):
        reader.feed(SAME[20:] + b"hello")


@given(st.binary(max_size=200), st.integers(1, 9))
def test_whatever_bytes_come_they_are_read_or_refused(data, step):
    for start in (b"", HEAD, CHUNKED):
        try:
            Read(start + data, step=step)
        except UpstreamError as error:
            assert error.kind.startswith("http_")  # noqa: PT017 # only where it is refused


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.integers(1, 40))
def test_a_chunked_body_is_what_its_chunks_hold(chunks, step):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    read = Read(CHUNKED + wire + LAST, step=step)
    assert (read.body, read.done, read.keep) == (b"".join(chunks), True, True)
