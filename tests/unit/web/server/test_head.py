"""Request heads: what is read, and everything that is refused because two readers could understand it differently."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.spec.formats import METHODS
from micro.web.problems import Problem
from micro.web.server.head import CHUNKED, NO_BODY, HeadReader, again, check_beginning
from micro.web.server.limits import MAX_KNOWN

HOST = b"Host: localhost\r\n"


def head(*fields, line=b"GET /a HTTP/1.1"):
    return line + b"\r\n" + b"".join(field + b"\r\n" for field in (b"Host: localhost", *fields)) + b"\r\n"


@pytest.fixture
def reader():
    return HeadReader()


def read(reader, data, scheme="http"):
    return reader.read(data, scheme)


def status(reader, data, scheme="http"):
    with pytest.raises(Problem) as caught:
        reader.read(data, scheme)
    assert caught.value.detail
    return caught.value.status


def comes_again(reader, first, then):
    """Read one head and then another of the same connection; that one, and whether its fields were recognized."""
    last = reader.read(first, "http")
    recognized = again(then, last)
    if recognized is None:
        return reader.read(then, "http"), False
    assert recognized.fields is last.fields
    return recognized, True


def goes_on(reader):
    """Whether the next head is read as if nothing had been."""
    return read(reader, head(b"X-A: 1")).fields.found == {b"host": b"localhost", b"x-a": b"1"}


def test_a_head_is_taken_apart(reader):
    said = read(reader, head(b"Accept: */*", b"X-A:1", b"X-B:", line=b"GET /a%20b?c=d?e HTTP/1.1"))
    assert (said.method, said.path, said.query, said.version) == ("GET", b"/a%20b", b"c=d?e", "1.1")
    assert said.fields.headers == [
        (b"host", b"localhost"),
        (b"accept", b"*/*"),
        (b"x-a", b"1"),
        (b"x-b", b""),
    ]
    assert said.fields.found == dict(said.fields.headers)
    assert (said.fields.length, said.fields.keep_alive, said.fields.expects, said.fields.upgrade) == (
        NO_BODY,
        True,
        False,
        b"",
    )


def test_repeated_fields_keep_their_order_and_are_joined_by_name(reader):
    said = read(reader, head(b"A: 1", b"B: 2", b"a: 3"))
    assert [pair for pair in said.fields.headers if pair[0] == b"a"] == [(b"a", b"1"), (b"a", b"3")]
    assert said.fields.found[b"a"] == b"1, 3"


def test_white_space_around_a_value_is_not_part_of_it(reader):
    said = read(reader, head(b"A: \t 1 \t", b"B:\t2\t", b"C: \xa0x\x85", b"D: a b"))
    assert said.fields.headers[1:] == [(b"a", b"1"), (b"b", b"2"), (b"c", b"\xa0x\x85"), (b"d", b"a b")]


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 12"], 12),
        ([b"Content-Length:\t7 "], 7),
        ([b"Content-Length: 007"], 7),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"Transfer-Encoding:\tCHUNKED "], CHUNKED),
    ],
)
def test_a_body_is_announced_by_length_or_in_chunks(reader, fields, length):
    assert read(reader, head(*fields, line=b"POST /a HTTP/1.1")).fields.length == length
    assert goes_on(reader)


@pytest.mark.parametrize(
    ("fields", "line", "keeps"),
    [
        ([], b"GET / HTTP/1.1", True),
        ([b"Connection: keep-alive"], b"GET / HTTP/1.1", True),
        ([b"Connection: CLOSE"], b"GET / HTTP/1.1", False),
        ([b"Connection: x", b"Connection: y, close"], b"GET / HTTP/1.1", False),
        ([b"Connection: closed"], b"GET / HTTP/1.1", True),
        ([], b"GET / HTTP/1.0", False),
        ([b"Connection: keep-alive"], b"GET / HTTP/1.0", False),
    ],
)
def test_the_client_says_whether_the_connection_goes_on(reader, fields, line, keeps):
    assert read(reader, head(*fields, line=line)).fields.keep_alive is keeps
    assert goes_on(reader)


def test_an_upgrade_needs_both_fields_and_http_1_1(reader):
    upgrade = [b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"]
    assert read(reader, head(*upgrade)).fields.upgrade == b"websocket"
    assert goes_on(reader)
    assert read(reader, head(*upgrade, line=b"GET / HTTP/1.0")).fields.upgrade == b""
    assert read(reader, head(upgrade[0])).fields.upgrade == b""
    assert read(reader, head(upgrade[1])).fields.upgrade == b""
    assert goes_on(reader)


def test_an_expectation_counts_where_a_body_follows_in_http_1_1(reader):
    """Elsewhere it is taken out, so that nobody behind waits for it."""
    expects = b"Expect: 100-Continue"
    said = read(reader, head(expects, b"Content-Length: 1", line=b"POST / HTTP/1.1"))
    assert said.fields.expects
    assert b"expect" in said.fields.found
    for data in (head(expects), head(expects, b"Content-Length: 1", line=b"POST / HTTP/1.0")):
        said = read(reader, data)
        assert not said.fields.expects
        assert b"expect" not in said.fields.found
        assert b"expect" not in dict(said.fields.headers)


def test_another_expectation_is_417(reader):
    assert status(reader, head(b"Expect: tea", b"Content-Length: 1", line=b"POST / HTTP/1.1")) == 417


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"http://other/a?b", b"/a", b"b", b"other"),
        (b"HTTP://other:81/", b"/", b"", b"other:81"),
        (b"http://other", b"/", b"", b"other"),
        (b"http://other?b", b"/", b"b", b"other"),
        (b"http://[::1]:80/a", b"/a", b"", b"[::1]:80"),
    ],
)
def test_an_absolute_target_has_its_own_host(reader, target, path, query, host):
    said = read(reader, head(b"A: 1", line=b"GET %b HTTP/1.1" % target))
    assert (said.path, said.query) == (path, query)
    assert said.fields.headers == [(b"host", host), (b"a", b"1")]
    assert said.fields.found[b"host"] == host


def test_options_may_ask_about_the_server(reader):
    assert read(reader, head(line=b"OPTIONS * HTTP/1.1")).path == b"*"
    assert read(reader, head(line=b"OPTIONS http://other HTTP/1.1")).path == b"*"
    assert read(reader, head(line=b"OPTIONS http://other/ HTTP/1.1")).path == b"/"


TARGETS = {
    b"*": 400,
    b"/a#b": 400,
    b"http://other/#b": 400,
    b"https://other/": 400,
    b"ftp://other/": 400,
    b"http:///a": 400,
    b"http://": 400,
    b"http://ada@other/": 400,
    b"a/b": 400,
    b"/\xff": 400,
    b"/\x7f": 400,
    b"/\x00": 400,
    b"/a\rb": 400,
    b"?a": 400,
}


@pytest.mark.parametrize(("target", "expected"), TARGETS.items())
def test_other_targets_are_refused(reader, target, expected):
    assert status(reader, head(line=b"GET %b HTTP/1.1" % target)) == expected
    assert goes_on(reader)


def test_the_scheme_of_an_absolute_target_is_the_connections(reader):
    line = b"GET https://other/ HTTP/1.1"
    assert status(reader, head(line=line)) == 400
    assert read(reader, head(line=line), "https").fields.found[b"host"] == b"other"


def test_an_absolute_target_does_not_replace_a_missing_host(reader):
    assert status(reader, b"GET http://other/ HTTP/1.1\r\nA: 1\r\n\r\n") == 400


@pytest.mark.parametrize("target", [b"localhost:80", b"/", b"http://localhost/"])
def test_connect_ends_here(reader, target):
    assert status(reader, head(line=b"CONNECT %b HTTP/1.1" % target)) == 405
    assert goes_on(reader)


LINES = {
    b"GET /a HTTP/1.2": 505,
    b"GET /a HTTP/2.0": 505,
    b"GET /a HTTP/0.9": 505,
    b"GET /a": 505,
    b"GET /a RTSP/1.0": 505,
    b"SOURCE /a ICE/1.0": 505,
    b"PRI * HTTP/2.0": 505,
    b"GET /a HTTP/11": 400,
    b"GET /a http/1.1": 400,
    b"GET /a HTTP/1.1 ": 400,
    b"GET  /a HTTP/1.1": 400,
    b" GET /a HTTP/1.1": 400,
    b"GET\t/a\tHTTP/1.1": 400,
    b"GET HTTP/1.1": 400,
    b"GET": 400,
    b"\nGET /a HTTP/1.1": 400,
    b"G(T /a HTTP/1.1": 400,
    b"BREW /a HTTP/1.1": 501,
    b"get /a HTTP/1.1": 501,
    b"PLAY /a HTTP/1.1": 501,
    b"GET /" + b"a" * 8192 + b" HTTP/1.1": 414,
}


@pytest.mark.parametrize(("line", "expected"), LINES.items())
def test_lines_that_are_no_http_1_request_are_refused(reader, line, expected):
    assert status(reader, head(line=line)) == expected
    assert goes_on(reader)


def test_a_line_of_8000_octets_is_read(reader):
    assert len(read(reader, head(line=b"GET /" + b"a" * 8000 + b" HTTP/1.1")).path) == 8001


FIELDS = {
    b"A : 1": 400,
    b"A\t: 1": 400,
    b" A: 1": 400,
    b": 1": 400,
    b"A": 400,
    b"A: 1\r\n 2": 400,
    b"A: 1\r\n\t2": 400,
    b"A: 1\r2": 400,
    b"A: 1\n2": 400,
    b"A: 1\r": 400,
    b"A: 1\0": 400,
    b"A: 1\nB: 2": 400,
    b"\xe4: 1": 400,
    b"A(: 1": 400,
    b"Content-Length: 1\r\nContent-Length: 1": 400,
    b"Content-Length: 1\r\nContent-Length: 2": 400,
    b"Content-Length: 1, 1": 400,
    b"Content-Length:": 400,
    b"Content-Length: +1": 400,
    b"Content-Length: -1": 400,
    b"Content-Length: 0x1": 400,
    b"Content-Length: 1_0": 400,
    b"Content-Length: 1 0": 400,
    b"Content-Length: 1.0": 400,
    b"Content-Length: \xb2": 400,
    b"Content-Length: 18446744073709551616": 400,
    b"Content-Length: 1234567890123456789": 400,
    b"Content-Length: 1\r\nTransfer-Encoding: chunked": 400,
    b"Transfer-Encoding: chunked\r\nContent-Length: 1": 400,
    b"Transfer-Encoding: gzip": 400,
    b"Transfer-Encoding: chunked, gzip": 400,
    b"Transfer-Encoding: chunked;a=b": 400,
    b'Transfer-Encoding: "chunked"': 400,
    b"Transfer-Encoding:": 400,
    b"Transfer-Encoding:\x0bchunked": 400,
    b"Transfer-Encoding: xchunked": 400,
    b"Transfer-Encoding: gzip, chunked": 501,
    b"Transfer-Encoding: ,chunked": 501,
}


@pytest.mark.parametrize(("field", "expected"), FIELDS.items())
def test_fields_that_two_readers_could_understand_differently_are_refused(reader, field, expected):
    assert status(reader, head(field, line=b"POST /a HTTP/1.1")) == expected
    assert goes_on(reader)


@pytest.mark.parametrize("codings", [b"chunked\r\nTransfer-Encoding: chunked", b"identity, chunked"])
def test_chunked_must_be_the_only_coding(reader, codings):
    assert status(reader, head(b"Transfer-Encoding: " + codings, line=b"POST /a HTTP/1.1")) in {400, 501}


def test_http_1_0_has_no_chunks(reader):
    assert status(reader, head(b"Transfer-Encoding: chunked", line=b"POST /a HTTP/1.0")) == 400


TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
TEXT = frozenset({9, *range(32, 127), *range(128, 256)})


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_of_a_name_and_a_value_is_one_that_the_rfc_allows(reader, byte):
    """RFC 9110 sections 5.1 and 5.5; a colon in a name ends it."""
    for data, allowed in (
        (b"A%cB: 1" % byte, byte in TOKEN or byte == 58),
        (b"A: b%cc" % byte, byte in TEXT),
        (b"A: %cc" % byte, byte in TEXT),
        (b"A: c%c" % byte, byte in TEXT),
    ):
        if allowed:
            said = read(reader, head(data))
            assert len(said.fields.headers) == 2
        else:
            assert status(reader, head(data)) == 400


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_of_a_target_is_visible_ascii(reader, byte):
    data = head(line=b"GET /a%cb HTTP/1.1" % byte)
    if 33 <= byte <= 126 and byte != 35:
        said = read(reader, data)
        assert (said.path + b"?" + said.query if byte == 63 else said.path) == b"/a%cb" % byte
    else:
        assert status(reader, data) == 400


@pytest.mark.parametrize(
    ("line", "path", "query", "method"),
    [
        (b"GET /a HTTP/1.1", b"/a", b"", "GET"),
        (b"DELETE /b?c=d?e HTTP/1.1", b"/b", b"c=d?e", "DELETE"),
        (b"GET /? HTTP/1.1", b"/", b"", "GET"),
    ],
)
def test_fields_that_come_again_are_recognized(reader, line, path, query, method):
    fields = (b"A: 1", b"A: 2")
    said, recognized = comes_again(reader, head(*fields), head(*fields, line=line))
    assert recognized
    assert (said.path, said.query, said.method, said.version) == (path, query, method, "1.1")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (head(b"A: 1"), head(b"A: 2")),
        (head(b"A: 1"), head(b"A: 1", b"B: 2")),
        (head(b"A: 1", b"B: 2"), head(b"B: 2")),
        (head(), head(line=b"GET http://other/ HTTP/1.1")),
        (head(line=b"GET http://other/ HTTP/1.1"), head()),
        (head(line=b"GET / HTTP/1.0"), head()),
        (head(), head(line=b"GET / HTTP/1.0")),
        (head(), head(line=b"PURGE / HTTP/1.1")),
    ],
)
def test_what_is_not_the_same_is_read_anew(reader, first, then):
    said, recognized = comes_again(reader, first, then)
    assert not recognized
    alone = read(HeadReader(), then)
    assert (said.fields.headers, said.path) == (alone.fields.headers, alone.path)


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_no_better_for_fields_that_were_good(reader, line):
    assert again(head(line=line), read(reader, head())) is None


@pytest.mark.parametrize("byte", range(256))
def test_nor_is_a_target(reader, byte):
    data = head(line=b"GET /a%cb?c%cd HTTP/1.1" % (byte, byte))
    said = again(data, read(reader, head()))
    assert (said is not None) is (33 <= byte <= 126 and byte != 35)
    if said is not None:
        alone = read(HeadReader(), data)
        assert (said.path, said.query) == (alone.path, alone.query)


@pytest.mark.parametrize("data", [b"", b"\r\n", head()[:-1], head() + b"x", head() * 2, b"\r\n" + head()])
def test_only_a_head_by_itself_is_recognized(reader, data):
    assert again(data, read(reader, head())) is None


@pytest.mark.parametrize(("size", "recognized"), [(MAX_KNOWN // 2, True), (MAX_KNOWN, False)])
def test_a_head_that_is_large_is_not_kept(reader, size, recognized):
    data = head(b"X-A: " + b"a" * size)
    said = read(reader, data)
    assert (said.whole == data, said.fields.block != b"") == (recognized, recognized)
    assert comes_again(reader, data, data)[1] == recognized


@pytest.mark.parametrize(
    "data",
    [
        head(b"Proxy-Connection: close"),
        head(b"Proxy-Connection: close", b"Connection: keep-alive"),
        head(b"Connection: close"),
        head(b"Content-Length: 999"),
        head(b"Content-Length: 0"),
        head(b"Transfer-Encoding: chunked"),
        head(b"Connection: close", line=b"GET https://localhost/ HTTP/1.1"),
        head(b"Content-Length: 999", line=b"GET https://localhost/ HTTP/1.1"),
        b"GET http://localhost/ HTTP/1.1\r\nContent-Length: 999\r\n\r\n",
        head(b"Content-Length: 999", line=b"GET * HTTP/1.1"),
        head(b"Expect: tea", b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1"),
        head(b"Connection: Upgrade", b"Upgrade: h2c"),
        head(b"Connection: keep-alive", line=b"GET / HTTP/1.0"),
    ],
)
def test_what_a_head_says_of_its_connection_is_not_said_of_the_next_one_s(reader, data):
    with suppress(Problem):
        reader.read(data, "http")
    assert goes_on(reader)


@given(data=st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data):
    reader = HeadReader()
    data = data.replace(b"\r\n\r\n", b"")
    with suppress(Problem):
        reader.read(data + b"\r\n\r\n", "http")
    assert goes_on(reader)


@pytest.mark.parametrize(
    "data", [b"G", b"GET", b"GET /", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHo", b"\r", head()[:-1]]
)
def test_a_beginning_that_can_become_a_request_is_waited_for(data):
    check_beginning(data, 1000)


BEGINNINGS = {
    b"\x16\x03\x01": 400,
    b"(": 400,
    b"GET / HTTP/1.1\nHost: x\n\n": 400,
    b"GET / HTTP/1.1\r\nA: 1\nB": 400,
    b"GET / HTTP/2.0\r\n": 505,
    b"GET /\r\n": 505,
    b"GET /" + b"a" * 8200: 414,
    b"GET / HTTP/1.1\r\nA: " + b"a" * 1000: 431,
}


@pytest.mark.parametrize(("data", "expected"), BEGINNINGS.items())
def test_a_beginning_that_can_not_is_refused_at_once(data, expected):
    with pytest.raises(Problem) as caught:
        check_beginning(data, 1000 if expected != 414 else 100_000)
    assert caught.value.status == expected


def test_another_line_with_the_same_fields_says_what_it_says(reader):
    first, other = head(line=b"GET /a?b=c HTTP/1.1"), head(line=b"POST /d HTTP/1.1")
    last = read(reader, head())
    for data, expected in [(first, ("GET", b"/a", b"b=c")), (other, ("POST", b"/d", b""))] * 2:
        last = again(data, last)
        assert (last.method, last.path, last.query, last.version) == (*expected, "1.1")
        assert last.whole == data


def test_what_was_found_out_from_a_whole_head_is_not_another_one_s(reader):
    last = read(reader, head())
    last.way = "found out"
    assert again(head(line=b"GET /b HTTP/1.1"), last).way is None


@pytest.mark.parametrize(
    "data",
    [
        head(b"Content-Length: 1", line=b"POST / HTTP/1.1"),
        head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1"),
        head(line=b"GET / HTTP/1.0"),
        head(line=b"GET http://other/ HTTP/1.1"),
    ],
)
def test_a_head_is_no_whole_request_where_more_belongs_to_it(reader, data):
    """Or where the same fields would have to be read anew."""
    assert read(reader, data).whole == b""


# https://www.iana.org/assignments/http-methods, and what else HTTP parsers know.
NAMED = """ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE FETCH FLUSH GET HEAD LABEL LINK LOCK M-SEARCH MERGE MKACTIVITY
MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE NOTIFY OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY
REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE UPDATE UPDATEREDIRECTREF VERSION-CONTROL
DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD""".split()  # noqa: SIM905 # one a line is 50 lines


@pytest.mark.parametrize("method", sorted({*NAMED, *METHODS}))
def test_a_route_may_name_just_the_methods_that_are_taken(reader, method):
    data = head(line=b"%b /a HTTP/1.1" % method.encode())
    if method in METHODS:
        assert read(reader, data).method == method
    else:
        assert status(reader, data) == 501
