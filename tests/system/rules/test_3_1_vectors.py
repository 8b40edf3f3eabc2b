"""Reference 3.1: raw bytes that two readers have understood differently elsewhere, and what becomes of them here.

Every vector is followed by a request of its own. Either the whole is refused and the connection ends, or the origin sees
the very requests that stand beside it, each once, with its body, framed so that nobody can read them otherwise.
"""

from __future__ import annotations

import pytest
from rig.client import problem
from rig.message import Ended
from rig.written import answered, get

NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
HOST = b"Host: localhost\r\n"
REFUSED = None
"""Nothing of it reaches the origin as a whole request."""


def line(data, *fields, method=b"POST"):
    """A request to /v with `fields` as they stand, and `data` behind it."""
    return (
        method + b" /v HTTP/1.1\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + data
    )


def chunks(data, coding=b"Transfer-Encoding: chunked"):
    return line(data, coding)


V5 = [(b"POST", b"/v", b"hello")]
V0 = [(b"POST", b"/v", b"")]
G = [(b"GET", b"/v", b"")]

INBOUND = {
    # chunk sizes
    "chunk size with an underscore": (chunks(b"0_5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "chunk size with a plus": (chunks(b"+5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "chunk size with a minus": (chunks(b"-5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "chunk size with 0x": (chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "last chunk with an underscore": (chunks(b"5\r\nhello\r\n0_0\r\n\r\n"), REFUSED),
    "last chunk with a minus": (chunks(b"5\r\nhello\r\n-0\r\n\r\n"), REFUSED),
    "last chunk of several zeros": (chunks(b"5\r\nhello\r\n000\r\n\r\n"), V5),
    "chunk size that overflows 64 bits": (chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), REFUSED),
    # lengths
    "length with an underscore": (line(b"hello", b"Content-Length: 0_5"), REFUSED),
    "length with a plus": (line(b"hello", b"Content-Length: +5"), REFUSED),
    "length with a minus": (line(b"hello", b"Content-Length: -5"), REFUSED),
    "length with 0x": (line(b"hello", b"Content-Length: 0x5"), REFUSED),
    "length that is empty": (line(b"", b"Content-Length:"), REFUSED),
    "length that is blank": (line(b"", b"Content-Length:  \t"), REFUSED),
    "length that is negative zero": (line(b"", b"Content-Length: -0"), REFUSED),
    "length with zeros before it": (line(b"hello", b"Content-Length: 0005"), V5),
    "length twice equal": (line(b"hello", b"Content-Length: 5", b"Content-Length: 5"), REFUSED),
    "length twice equal in one field": (line(b"hello", b"Content-Length: 5, 5"), REFUSED),
    "length twice different": (line(b"hello", b"Content-Length: 5", b"Content-Length: 0"), REFUSED),
    "length twice different in the other order": (
        line(b"hello", b"Content-Length: 0", b"Content-Length: 5"),
        REFUSED,
    ),
    "length once empty": (line(b"hello", b"Content-Length: 5", b"Content-Length:"), REFUSED),
    "length and a comma": (line(b"hello", b"Content-Length: ,5"), REFUSED),
    "length behind a vertical tab": (line(b"hello", b"Content-Length: \x0b5"), REFUSED),
    "length before a form feed": (line(b"hello", b"Content-Length: 5\x0c"), REFUSED),
    "length of two numbers": (line(b"hello", b"Content-Length: 5 5"), REFUSED),
    "length with a parameter": (line(b"hello", b"Content-Length: 5;a=b"), REFUSED),
    "length with a fraction": (line(b"hello", b"Content-Length: 5.0"), REFUSED),
    "length in digits beyond ASCII": (line(b"hello", "Content-Length: \uff15".encode()), REFUSED),
    "length that overflows 64 bits": (line(b"hello", b"Content-Length: 18446744073709551621"), REFUSED),
    "length behind a vertical tab in its name": (line(b"hello", b"Content-Length\x0b: 5"), REFUSED),
    # transfer codings
    "chunked twice": (line(b"5\r\nhello\r\n0\r\n\r\n", *[b"Transfer-Encoding: chunked"] * 2), REFUSED),
    "chunked twice in one field": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: chunked, chunked"), REFUSED),
    "chunked behind a comma": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: ,chunked"), REFUSED),
    "chunked before a comma": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: chunked,"), REFUSED),
    "chunked in quotes": (chunks(b"0\r\n\r\n", b'Transfer-Encoding: "chunked"'), REFUSED),
    "chunked behind a vertical tab": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: \x0bchunked"), REFUSED),
    "chunked behind a form feed": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: \x0cchunked"), REFUSED),
    "chunked behind a space of Latin-1": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: \xa0chunked"), REFUSED),
    "chunked behind a tab": (chunks(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding:\tchunked"), V5),
    "chunked, and another name for it": (
        line(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", b"Transfer_Encoding: identity"),
        V5,
    ),
    "chunked, and an unknown coding in a field of its own": (
        line(b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
        REFUSED,
    ),
    "chunked behind CR": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: \rchunked"), REFUSED),
    "chunked behind NUL": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: \x00chunked"), REFUSED),
    "chunked with a parameter": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: chunked;a=b"), REFUSED),
    "chunked in part": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: chunke"), REFUSED),
    "chunked and more letters": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: chunkedx"), REFUSED),
    "identity": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: identity"), REFUSED),
    "an unknown coding": (chunks(b"0\r\n\r\n", b"Transfer-Encoding: x"), REFUSED),
    "an unknown coding and a length": (
        line(b"hello", b"Transfer-Encoding: x", b"Content-Length: 5"),
        REFUSED,
    ),
    "an empty coding and a length": (line(b"hello", b"Transfer-Encoding:", b"Content-Length: 5"), REFUSED),
    "chunked and a length": (
        line(b"0\r\n\r\n", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        REFUSED,
    ),
    "chunked in HTTP/1.0": (
        b"POST /v HTTP/1.0\r\n"
        + HOST
        + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        REFUSED,
    ),
    # fields
    "NUL in a value": (line(b"", b"X-A: 1\x002", method=b"GET"), REFUSED),
    "CR in a value": (line(b"", b"X-A: 1\r2", method=b"GET"), REFUSED),
    "LF in a value": (line(b"", b"X-A: 1\n2", method=b"GET"), REFUSED),
    "CR, and a length behind it": (line(b"hello", b"X-A: 1\rContent-Length: 5"), REFUSED),
    "space before the colon": (line(b"hello", b"Content-Length : 5"), REFUSED),
    "tab before the colon": (line(b"0\r\n\r\n", b"Transfer-Encoding\t: chunked"), REFUSED),
    "a space before the first field": (b"GET /v HTTP/1.1\r\n Host: localhost\r\n\r\n", REFUSED),
    "a tab before the first field": (b"GET /v HTTP/1.1\r\n\tX-A: 1\r\n" + HOST + b"\r\n", REFUSED),
    "an empty name": (line(b"", b": 1", method=b"GET"), REFUSED),
    "a blank name": (line(b"", b" : 1", method=b"GET"), REFUSED),
    "no colon": (line(b"", b"X-A", method=b"GET"), REFUSED),
    "a name beyond ASCII": (line(b"", b"X-\xc3\xa4: 1", method=b"GET"), REFUSED),
    "NUL in a name": (line(b"hello", b"Content-\x00Length: 5"), REFUSED),
    "a bracket in a name": (line(b"", b"X[A]: 1", method=b"GET"), REFUSED),
    "a quote in a name": (line(b"", b'X"A: 1', method=b"GET"), REFUSED),
    "a slash in a name": (line(b"", b"X/A: 1", method=b"GET"), REFUSED),
    "a length after a space of Latin-1": (line(b"hello", b"Content-Length: \xa05"), REFUSED),
    "a length before a space of Latin-1": (line(b"hello", b"Content-Length: 5\xa0"), REFUSED),
    "a length after NEL": (line(b"hello", b"Content-Length: \x855"), REFUSED),
    "a length before NEL": (line(b"hello", b"Content-Length: 5\x85"), REFUSED),
    "a length folded": (line(b"hello", b"Content-Length:\r\n 5"), REFUSED),
    "a coding folded": (line(b"0\r\n\r\n", b"Transfer-Encoding:\r\n\tchunked"), REFUSED),
    "an empty line folded": (line(b"", b"X-A: 1\r\n ", method=b"GET"), REFUSED),
    "a length with tabs around it": (line(b"hello", b"Content-Length:\t5\t "), V5),
    "a length without a space": (line(b"hello", b"content-length:5"), V5),
    # ends of lines
    "LF ends every line": (b"GET /v HTTP/1.1\nHost: localhost\n\n", REFUSED),
    "LF ends the request line": (b"GET /v HTTP/1.1\nHost: localhost\r\n\r\n", REFUSED),
    "LF ends a field": (b"GET /v HTTP/1.1\r\nHost: localhost\nX-A: 1\r\n\r\n", REFUSED),
    "LF ends the head": (b"GET /v HTTP/1.1\r\nHost: localhost\r\n\n", REFUSED),
    "CR ends every line": (b"GET /v HTTP/1.1\rHost: localhost\r\r", REFUSED),
    "CR ends a field": (b"GET /v HTTP/1.1\r\nHost: localhost\rX-A: 1\r\n\r\n", REFUSED),
    "CR CR LF ends a field": (b"GET /v HTTP/1.1\r\nHost: localhost\r\r\n\r\n", REFUSED),
    "LF ends a chunk size": (chunks(b"5\nhello\r\n0\r\n\r\n"), REFUSED),
    "LF ends a chunk": (chunks(b"5\r\nhello\n0\r\n\r\n"), REFUSED),
    "CR ends a chunk size": (chunks(b"5\rhello\r\n0\r\n\r\n"), REFUSED),
    "anything ends a chunk": (chunks(b"5\r\nhelloXX0\r\n\r\n"), REFUSED),
    "nothing ends a chunk": (chunks(b"5\r\nhello0\r\n\r\n"), REFUSED),
    "LF ends the last chunk": (chunks(b"5\r\nhello\r\n0\n\n"), REFUSED),
    "LF ends the trailers": (chunks(b"5\r\nhello\r\n0\r\n\n"), REFUSED),
    "an empty line before the last chunk": (chunks(b"5\r\nhello\r\n\r\n0\r\n\r\n"), REFUSED),
    "an empty line before the first chunk": (chunks(b"\r\n5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    # extensions
    "an extension with CR": (chunks(b"5;a\r=b\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "an extension with LF": (chunks(b"5;a\n=b\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "an extension with LF at its end": (chunks(b"5;\nhello\r\n0\r\n\r\n"), REFUSED),
    "an extension with NUL": (chunks(b"5;a=\x00\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "an extension with a line end in quotes": (chunks(b'5;a="\r\nhello\r\n0\r\n\r\n'), V5),
    "an extension behind a space": (chunks(b"5 ;a\r\nhello\r\n0\r\n\r\n"), V5),
    "a space behind a chunk size": (chunks(b"5 \r\nhello\r\n0\r\n\r\n"), REFUSED),
    "an extension without its semicolon": (chunks(b"5 a\r\nhello\r\n0\r\n\r\n"), REFUSED),
    "a trailer that is folded": (chunks(b"5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n"), REFUSED),
    "a trailer with CR": (chunks(b"5\r\nhello\r\n0\r\nX-A: 1\r2\r\n\r\n"), REFUSED),
    "an extension": (chunks(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), V5),
    # request lines
    "a version by its prefix": (b"GET /v HTTP/1.1x\r\n" + HOST + b"\r\n", REFUSED),
    "a version with zeros": (b"GET /v HTTP/01.1\r\n" + HOST + b"\r\n", REFUSED),
    "a version of one digit": (b"GET /v HTTP/1\r\n" + HOST + b"\r\n", REFUSED),
    "a version of two digits": (b"GET /v HTTP/1.10\r\n" + HOST + b"\r\n", REFUSED),
    "a version to come": (b"GET /v HTTP/1.2\r\n" + HOST + b"\r\n", REFUSED),
    "a version long gone": (b"GET /v HTTP/0.9\r\n" + HOST + b"\r\n", REFUSED),
    "a version in small letters": (b"GET /v http/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a version of something else": (b"GET /v HTTX/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "no version": (b"GET /v\r\n" + HOST + b"\r\n", REFUSED),
    "a method by its prefix": (b"GETX /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a method in small letters": (b"get /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a method that is no token": (b"G(T /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a space before the method": (b" GET /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "two spaces": (b"GET  /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "two spaces before the version": (b"GET /v  HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a tab for a space": (b"GET\t/v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a space behind the version": (b"GET /v HTTP/1.1 \r\n" + HOST + b"\r\n", REFUSED),
    "a space in the target": (b"GET /v HTTP/1.1 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "CR in the target": (b"GET /v\rX HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "LF in the query, and a field behind it": (b"GET /v?a\nX-B:1 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "LF in the path, and a field behind it": (b"GET /v\nX-B:1 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "LF in an absolute target": (b"GET http://localhost\nX-B:1 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "LF and a whole request in the query": (
        b"GET /v?a\nHost:localhost\n\nGET HTTP/1.1\r\n" + HOST + b"\r\n",
        REFUSED,
    ),
    "LF in the target of OPTIONS": (b"OPTIONS *\nX-B:1 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "NUL in the query": (b"GET /v?\x00 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a tab in the query": (b"GET /v?a\tb HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a query beyond ASCII": (b"GET /v?\xe4 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "DEL in the query": (b"GET /v?\x7f HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "NUL in the target": (b"GET /v\x00 HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "a target beyond ASCII": (b"GET /v\xff HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "an empty line before it": (b"\r\nGET /v HTTP/1.1\r\n" + HOST + b"\r\n", G),
    "LF before it": (b"\nGET /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    "CR before it": (b"\rGET /v HTTP/1.1\r\n" + HOST + b"\r\n", REFUSED),
    # what is a body, and what a request
    "an invalid chunk, then a request": (chunks(b"Z\r\n" + NEXT), REFUSED),
    "a request as a body": (line(NEXT, b"Content-Length: %d" % len(NEXT)), [(b"POST", b"/v", NEXT)]),
    "a request in a chunk": (
        chunks(b"%x\r\n%s\r\n0\r\n\r\n" % (len(NEXT), NEXT)),
        [(b"POST", b"/v", NEXT)],
    ),
    "a body of GET": (line(b"hello", b"Content-Length: 5", method=b"GET"), [(b"GET", b"/v", b"hello")]),
    "a body of GET in chunks": (
        line(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", method=b"GET"),
        [(b"GET", b"/v", b"hello")],
    ),
    "a body of DELETE": (
        line(b"hello", b"Content-Length: 5", method=b"DELETE"),
        [(b"DELETE", b"/v", b"hello")],
    ),
    "a body of OPTIONS": (
        line(b"hello", b"Content-Length: 5", method=b"OPTIONS"),
        [(b"OPTIONS", b"/v", b"hello")],
    ),
    "no body of POST": (line(b""), V0),
    "a length of nought": (line(b"", b"Content-Length: 0"), V0),
    "a length named by Connection": (line(b"hello", b"Content-Length: 5", b"Connection: Content-Length"), V5),
    "a coding named by Connection": (
        line(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding"),
        V5,
    ),
    "a length with an underscore in its name": (line(b"", b"Content_Length: 5"), V0),
    "a coding with an underscore in its name": (line(b"", b"Transfer_Encoding: chunked"), V0),
    "an upgrade with a body": (
        line(
            b"hello",
            b"Content-Length: 5",
            b"Connection: Upgrade",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABk",
        ),
        V5,
    ),
    "an upgrade to WebSocket with a body": (
        line(b"hello", b"Content-Length: 5", b"Connection: Upgrade", b"Upgrade: websocket"),
        V5,
    ),
    "a length behind an absolute target": (
        b"POST http://localhost/v HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
        V5,
    ),
    "a request as a body behind an absolute target": (
        b"POST http://localhost/v HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(NEXT) + NEXT,
        [(b"POST", b"/v", NEXT)],
    ),
    "chunks behind an absolute target": (
        b"POST http://localhost/v HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        V5,
    ),
    "both behind an absolute target": (
        b"POST http://localhost/v HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        REFUSED,
    ),
    "an upgrade to HTTP/2 without a body": (
        line(
            b"",
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABk",
            method=b"GET",
        ),
        G,
    ),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REFUSED),
}


def reached(world, client):
    """What reaches the origin, answered one by one: the whole requests, each once."""
    found = []
    while not world.is_silent():
        try:
            got = world.origin.request()
            body = got.body()
        except Ended:
            continue
        found.append((got.method, got.target, body))
        got.answer(body=b"ok")
    return found


@pytest.mark.parametrize(("data", "expected"), INBOUND.values(), ids=INBOUND)
def test_a_vector_is_refused_or_reaches_the_origin_as_what_it_is(world, data, expected):
    client = world.connect()
    client.send(data + NEXT)
    seen = reached(world, client)
    if expected is not REFUSED:
        assert seen == [*expected, (b"GET", b"/next", b"")]
        assert [client.answer().body for _ in seen] == [b"ok"] * len(seen)
        assert client.goes_on()
        return
    assert seen == []
    if client.nothing():  # it is not at its end yet, for who reads it rightly
        world.advance(20)
    answer = client.answer()
    problem(answer, answer.status)
    assert answer.status in {400, 408, 413, 414, 431, 501, 505}
    assert client.ends()
    assert world.is_silent()


@pytest.mark.parametrize(("data", "expected"), INBOUND.values(), ids=INBOUND)
def test_a_vector_that_comes_byte_by_byte_is_the_same(world, data, expected):
    client = world.connect()
    for start in range(len(data)):
        try:
            client.send(data[start : start + 1])
        except ConnectionError:
            break
        world.settle()
    seen = reached(world, client)
    assert seen == (expected or [])


TRUNCATED, FAULTY, WHOLE = "broken off or refused", "refused", "passed on"

OUTBOUND = {
    "chunk size with an underscore": (
        b"Transfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n",
        TRUNCATED,
    ),
    "chunk size with 0x": (b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", TRUNCATED),
    "chunk size with a minus": (b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", TRUNCATED),
    "a chunk extension with CR": (
        b"Transfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
        TRUNCATED,
    ),
    "a chunk extension with LF": (
        b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        TRUNCATED,
    ),
    "LF ends a chunk size": (b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", TRUNCATED),
    "LF ends a chunk": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", TRUNCATED),
    "an empty line before the last chunk": (
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n\r\n0\r\n\r\n",
        TRUNCATED,
    ),
    "a chunk longer than it says": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", TRUNCATED),
    "a sound chunk": (b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", WHOLE),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello", FAULTY),
    "a length with an underscore": (b"Content-Length: 0_5\r\n\r\nhello", FAULTY),
    "a length with a plus": (b"Content-Length: +5\r\n\r\nhello", FAULTY),
    "a length after a space of Latin-1": (b"Content-Length: \xa05\r\n\r\nhello", FAULTY),
    "an unknown coding and a length": (b"Transfer-Encoding: x\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "chunked twice": (
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        FAULTY,
    ),
    "chunked behind a comma": (b"Transfer-Encoding: ,chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", FAULTY),
    "chunked behind a vertical tab": (
        b"Transfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        FAULTY,
    ),
    "NUL in a value": (b"X-A: 1\x002\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "CR in a value": (b"X-A: 1\r2\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "LF ends a field": (b"X-A: 1\nX-B: 2\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "CR and LF by other bytes": (b"X-A: 1\xc4\x8d\xc4\x8aX-B: 2\r\nContent-Length: 5\r\n\r\nhello", WHOLE),
    "no colon": (b"X-A\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "an empty name": (b": 1\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "a name beyond ASCII": (b"X-\xe4: 1\r\nContent-Length: 5\r\n\r\nhello", FAULTY),
    "zeros before a length": (b"Content-Length: 0005\r\n\r\nhello", WHOLE),
    "a sound answer": (b"Content-Length: 5\r\n\r\nhello", WHOLE),
}


@pytest.mark.needs("bytes of an answer")
@pytest.mark.parametrize("stepwise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("data", "expected"), OUTBOUND.values(), ids=OUTBOUND)
def test_an_answer_that_can_be_read_in_two_ways_is_not_passed_on(world, data, expected, stepwise):
    client, got = world.ask(get(b"/v"))
    data = b"HTTP/1.1 200 OK\r\n" + data
    for start in range(len(data)) if stepwise else [None]:
        got.line.send_some(data if start is None else data[start : start + 1])
        world.settle()
    head = client.head()
    if expected == WHOLE:
        assert b"".join(client.body(head)) == b"hello"
        assert world.again(client, got.line)
        return
    if expected == TRUNCATED and head.status == 200:
        assert client.breaks_off(head)
        assert b"hello".startswith(client.part)
    else:
        assert head.status == 502
        assert head[b"proxy-status"].startswith(b"micro; error=http_")
        assert b"hello" not in b"".join(client.body(head))
        assert client.goes_on()
    assert got.gone()
    assert world.again(world.connect())


@pytest.mark.needs("bytes of an answer")
def test_poison_behind_an_answer_is_never_another_s_answer(world):
    """A desynchronised instance: the bytes behind one answer would be the next client's."""
    client, got = world.ask(get(b"/v"))
    got.send(answered(b"mine") + answered(b"poison", b"X-Poison: 1"))
    assert client.answer().body == b"mine"
    other = world.connect()
    assert world.again(other)
    assert world.again(client)
