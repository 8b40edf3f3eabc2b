"""Bytes on a socket: whatever is sent, the answer is a problem that says what is wrong, never a 500 or a stack trace.

Every case is sent to the gateway and, where it makes sense, to a service's own port; and after every answer the
connection is either closed or answers the next request as if nothing had been.

What uvicorn's parser lets through, or refuses in its own words, is mended by `micro.web.server` (reference/gateway.md 2.12):

| Sent | Under uvicorn alone | Here |
|---|---|---|
| what the parser refuses | 400 in plain text without a request id, connection closed | a problem body |
| a head of 2 MB | answered | 431, or 414 where the line is too long |
| a head that never ends | waited for | 408 |
| trailer fields | become header fields, `Authorization` among them | dropped |
| `GET http://other/path` with a `Host` of ours | the target's host is lost, `Host` believed | the target's host counts: 400 |
| a fragment in the target | cut off silently | 400 |
| `RTSP/1.0` | answered | 505 |
| a bad request pipelined behind a good one | only the 400 is seen | both are answered |
| a request, and the end of the client's half | perhaps no answer: the end counts as leaving | its answer |
| `HTTP/2.0`, `Transfer-Encoding: gzip, chunked`, or one in HTTP/1.0, on a service's port | answered | as the gateway |
| a body that never comes, on a service's port | waited for | 408 |
"""

from __future__ import annotations

import json
import socket
import struct

import pytest

LIMIT = 60.0
"""Seconds that a test waits for an answer that does not come."""
MEGABYTE = 1 << 20
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
PLAIN = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Answer:
    """One response, as its framing says."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def __getitem__(self, name):
        (value,) = self.all(name)
        return value

    def problem(self, status):
        """Its body, checked: a problem by RFC 9457 with the request id, and nothing of the inside."""
        assert self.status == status, (self.status, self.body)
        assert self["content-type"] == "application/problem+json"
        body = json.loads(self.body)
        assert body["status"] == status
        assert body["title"]
        assert body["request_id"] == self["x-request-id"]
        assert not any(word in self.body for word in (b"Traceback", b'File \\"', b".py"))
        return body


class Wire:
    """A connection that reads no more than one answer at a time."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=LIMIT)
        self._rest = b""

    def send(self, data):
        self._socket.sendall(data)

    def half_close(self):
        self._socket.shutdown(socket.SHUT_WR)

    def close(self):
        self._socket.close()

    def reset(self):
        """Go without a word: whatever is under way is met by RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def answer(self, *, head_only=False):
        """The next response; fails where there is none, or its framing is wrong."""
        head = self._until(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value) for name, value in (field.split(": ", 1) for field in fields)]
        answer = Answer(int(status), headers, b"")
        if answer.status == 100:
            return answer
        lengths, codings = answer.all("content-length"), answer.all("transfer-encoding")
        if lengths and not head_only:
            assert not codings
            (length,) = lengths
            answer.body = self._take(int(length))
        elif codings:
            assert codings == ["chunked"]
            while size := int(self._until(b"\r\n"), 16):
                answer.body += self._take(size)
                assert self._take(2) == b"\r\n"
            assert self._take(2) == b"\r\n"
        return answer

    def ask(self, data):
        self.send(data)
        return self.answer()

    def ends(self):
        """Whether the other side closes, after nothing more."""
        try:
            return not self._rest and not self._socket.recv(1)
        except ConnectionResetError:
            return True  # it closed with some of ours unread

    def receive(self, count):
        """Some of an answer."""
        assert self._take(count).startswith(b"HTTP/1.1 200")

    def everything(self):
        """What comes until the other side closes."""
        found = self._rest
        while data := self._socket.recv(65536):
            found += data
        return found

    def goes_on(self):
        """Whether the next request is answered as if nothing had been."""
        answer = self.ask(PLAIN)
        return answer.status == 200 and json.loads(answer.body)["status"] == "healthy"

    def _until(self, mark):
        while mark not in self._rest:
            self._receive()
        found, self._rest = self._rest.split(mark, 1)
        return found

    def _take(self, count):
        while len(self._rest) < count:
            self._receive()
        found, self._rest = self._rest[:count], self._rest[count:]
        return found

    def _receive(self):
        data = self._socket.recv(65536)
        assert data, f"closed after {self._rest[:200]!r}"
        self._rest += data


@pytest.fixture
def connect():
    """`connect(address)` opens a connection that is closed at the end of the test."""
    wires = []

    def open_one(address):
        wires.append(Wire(address))
        return wires[-1]

    yield open_one
    for wire in wires:
        wire.close()


@pytest.fixture(params=["gateway", "service"])
def wire(request, site, connect):
    """A connection to the gateway, and one to the task service's own port."""
    return connect(site.gateway if request.param == "gateway" else site.service("task"))


@pytest.fixture
def gate(site, connect):
    return connect(site.gateway)


@pytest.fixture(scope="module")
def ada(site):
    return f"Authorization: Bearer {site.token('ada')}\r\n".encode()


@pytest.fixture(scope="module")
def bob(site):
    return f"Authorization: Bearer {site.token('bob')}\r\n".encode()


def get(target, *fields, method=b"GET", version=b"HTTP/1.1"):
    return b"%s %s %s\r\n" % (method, target, version) + HOST + b"".join(fields) + b"\r\n"


def post(target, body, *fields, length=None):
    length = len(body) if length is None else length
    return get(target, *fields, b"Content-Length: %d\r\n" % length, method=b"POST") + body


def chunked(target, *chunks, fields=()):
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return get(target, *fields, CHUNKED, method=b"POST") + body


def refused(wire, data, status=400):
    """A problem body, and the end: what follows can't be told from the request."""
    answer = wire.ask(data)
    answer.problem(status)
    assert answer["connection"] == "close"
    return wire.ends()


MALFORMED = {
    "nothing": b"",
    "cut off": b'{"title": "x"',
    "no JSON": b"title=x",
    "two values": b'{"title": "x"} {}',
    "a single quote": b"{'title': 'x'}",
    "NaN": b'{"title": NaN}',
    "not UTF-8": b'{"title": "\xff"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"title": "x"}',
    "a raw NUL": b'{"title": "\x00"}',
    "65 deep": b'{"title": ' + b"[" * 64 + b"]" * 64 + b"}",
    "100,000 deep": b'{"title": ' + b"[" * 100_000,
    "100,000 objects deep": b'{"title":' * 100_000,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_body_that_is_not_json_is_400(wire, ada, body):
    wire.ask(post(b"/tasks", body, ada, JSON)).problem(400)
    assert wire.goes_on()


WRONG_SHAPES = {
    "not an object": (b"[]", [""]),
    "null": (b"null", [""]),
    "nothing in it": (b"{}", ["/title"]),
    "several faults": (
        b'{"title": 7, "due_at": "soon", "category_id": "x"}',
        ["/title", "/category_id", "/due_at"],
    ),
    "a number of 5,000 digits": (b'{"title": ' + b"9" * 5000 + b"}", ["/title"]),
    "a number without end": (b'{"title": 1e999}', ["/title"]),
    "64 deep": (b'{"title": ' + b"[" * 63 + b"]" * 63 + b"}", ["/title"]),
    "a lone surrogate": (b'{"title": "\\ud800"}', ["/title"]),
    "NUL": (b'{"title": "a\\u0000b"}', ["/title"]),
    "NUL in a name": (b'{"title": "x", "a\\u0000": 1}', ["/a\u0000"]),
    "too long": (b'{"title": "%s"}' % (b"x" * 201), ["/title"]),
    "blank": (b'{"title": "  "}', ["/title"]),
    "a date that none is": (b'{"title": "x", "due_at": "2026-02-30T00:00:00Z"}', ["/due_at"]),
    "the year 9999": (b'{"title": "x", "due_at": "9999-12-31T23:59:59-14:00"}', ["/due_at"]),
}


@pytest.mark.parametrize(("body", "pointers"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_wrong_shape_is_422_and_every_fault_has_a_pointer(wire, ada, body, pointers):
    problem = wire.ask(post(b"/tasks", body, ada, JSON)).problem(422)
    found = [error["pointer"] for error in problem["errors"]]
    assert [pointer.replace("\ufffd", "\0") for pointer in found] == pointers
    assert all(error["detail"] for error in problem["errors"])
    assert wire.goes_on()


@pytest.mark.parametrize(
    "query",
    [
        b"limit=0",
        b"limit=201",
        b"limit=x",
        b"limit=" + b"9" * 400,
        b"limit=1&limit=2",
        b"cursor=%00",
        b"cursor=zz",
        b"status=done",
        b"status=%ff",
        b"status=%ED%A0%80",
        b"category_id=7",
    ],
)
def test_a_query_that_is_wrong_is_422(wire, ada, query):
    assert wire.ask(get(b"/tasks?" + query, ada)).problem(422)["errors"]
    assert wire.goes_on()


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/x-www-form-urlencoded", b"application/json; charset=x"]
)
def test_another_type_of_body_is_415(wire, ada, kind):
    wire.ask(post(b"/tasks", b'{"title": "x"}', ada, b"Content-Type: %s\r\n" % kind)).problem(415)
    assert wire.goes_on()


def test_a_body_without_a_type_or_with_a_coding_is_415(wire, ada):
    wire.ask(post(b"/tasks", b'{"title": "x"}', ada)).problem(415)
    wire.ask(post(b"/tasks", b'{"title": "x"}', ada, JSON, b"Content-Encoding: gzip\r\n")).problem(415)
    assert wire.goes_on()


def test_a_body_that_is_too_large_is_413_before_a_byte_of_it_was_sent(wire, ada):
    """Nothing but the head is sent before the answer. What then comes is taken for what was announced, not a request."""
    body = PLAIN * (2 * MEGABYTE // len(PLAIN))
    wire.ask(post(b"/tasks", b"", ada, JSON, length=len(body))).problem(413)
    wire.send(body)
    assert wire.goes_on()


def test_a_body_that_is_too_large_is_not_asked_for_and_nothing_else_is_read_in_its_place(wire, ada):
    wire.ask(post(b"/tasks", b"", ada, JSON, b"Expect: 100-continue\r\n", length=2 * MEGABYTE)).problem(413)
    assert wire.ends()


def test_a_claim_of_two_gigabytes_is_413_at_once(wire, ada):
    wire.ask(post(b"/tasks", b"", ada, JSON, length=2 << 30)).problem(413)


def test_a_body_in_chunks_that_grows_too_large_is_413(wire, ada):
    piece = b" " * 65536
    wire.send(chunked(b"/tasks", *[piece] * 17, fields=(ada, JSON)))
    wire.answer().problem(413)
    wire.send(b"0\r\n\r\n")
    assert wire.goes_on()


def test_a_body_that_is_announced_and_waited_for_is_asked_for(wire, ada):
    wire.send(post(b"/tasks", b"", ada, JSON, b"Expect: 100-continue\r\n", length=14))
    assert wire.answer().status == 100
    assert wire.ask(b'{"title": "x"}').status == 201
    assert wire.goes_on()


@pytest.mark.parametrize("target", [b"/nowhere", b"/", b"/tasksheet", b"//tasks", b"/nowhere?limit=1"])
def test_an_unknown_path_is_404_without_a_token(wire, target):
    wire.ask(get(target)).problem(404)
    assert wire.goes_on()


@pytest.mark.parametrize(
    "id", [b"7", b"%00", b"%ff", b"%F0%9F%92%A9", b"x" * 3000, b"01A203DB-F77A-7BFA-83C8-944A2D24F7D0"]
)
def test_a_malformed_id_is_404(wire, ada, id):
    wire.ask(get(b"/tasks/" + id, ada)).problem(404)
    assert wire.goes_on()


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH"])
def test_a_wrong_method_is_405_with_allow(wire, ada, method):
    answer = wire.ask(get(b"/tasks", ada, b"Content-Length: 0\r\n", method=method))
    answer.problem(405)
    assert answer["allow"] == "GET, HEAD, POST"
    assert wire.goes_on()


def test_a_method_that_the_route_leaves_out_is_405_with_allow(gate):
    answer = gate.ask(post(b"/limited", b""))
    answer.problem(405)
    assert answer["allow"] == "GET, HEAD"
    assert gate.goes_on()


def test_what_is_not_a_method_for_services_is_405_at_the_gateway(gate):
    answer = gate.ask(get(b"/tasks", method=b"TRACE"))
    answer.problem(405)
    assert "TRACE" not in answer["allow"]
    assert gate.goes_on()


HOSTS = {
    "unknown": b"Host: example.com\r\n",
    "none": b"",
    "twice": HOST * 2,
    "two in one": b"Host: localhost, localhost\r\n",
    "empty": b"Host: \r\n",
    "with a space": b"Host: local host\r\n",
    "with a path": b"Host: localhost/x\r\n",
    "with a user": b"Host: localhost@example.com\r\n",
    "a port that is none": b"Host: localhost:99999\r\n",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_host_that_is_unknown_missing_or_repeated_is_400(wire, ada, host):
    wire.ask(b"GET /tasks HTTP/1.1\r\n" + host + ada + b"\r\n").problem(400)
    assert wire.goes_on()


AUTHORIZATIONS = {
    "none": b"",
    "another scheme": b"Authorization: Basic YTpi\r\n",
    "no token": b"Authorization: Bearer\r\n",
    "no token at all": b"Authorization: \r\n",
    "not a token": b"Authorization: Bearer x.y.z\r\n",
    "bytes": b"Authorization: Bearer \xff\xfe\r\n",
    "no signature": b"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.\r\n",
    "20 KB": b"Authorization: Bearer " + b"a" * 20_000 + b"\r\n",
}


@pytest.mark.parametrize("field", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
def test_a_missing_or_bad_token_is_401_with_a_challenge(wire, field):
    answer = wire.ask(get(b"/tasks", field))
    answer.problem(401)
    assert answer["www-authenticate"].startswith("Bearer")
    assert wire.goes_on()


def test_a_token_sent_twice_is_401(wire, ada):
    wire.ask(get(b"/tasks", ada, ada)).problem(401)
    assert wire.goes_on()


def test_a_token_that_was_changed_is_401(wire, ada):
    head, _, signature = ada.strip().rpartition(b".")
    wire.ask(get(b"/tasks", head + b"." + signature[::-1] + b"\r\n")).problem(401)
    assert wire.goes_on()


def test_what_is_not_yours_is_403(wire, ada, bob):
    made = wire.ask(post(b"/tasks", b'{"title": "x"}', ada, JSON))
    wire.ask(get(b"/tasks/" + json.loads(made.body)["id"].encode(), bob)).problem(403)
    assert wire.goes_on()


def test_too_fast_is_429_and_says_when_to_come_again(gate):
    answers = [gate.ask(get(b"/limited")) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer["ratelimit"].split(";t=")[0] for answer in answers] == [
        f'"GET /limited";r={left}' for left in (2, 1, 0, 0)
    ]
    last = answers[-1]
    last.problem(429)
    assert last["ratelimit-policy"] == '"GET /limited";q=3;w=60'
    assert 1 <= int(last["retry-after"]) <= 60
    assert last["ratelimit"].endswith(f";t={last['retry-after']}")
    assert gate.goes_on()


LENGTHS = {
    "twice the same": b"Content-Length: 2\r\nContent-Length: 2\r\n",
    "twice": b"Content-Length: 2\r\nContent-Length: 3\r\n",
    "a list": b"Content-Length: 2, 2\r\n",
    "a sign": b"Content-Length: +2\r\n",
    "negative": b"Content-Length: -2\r\n",
    "an underscore": b"Content-Length: 1_4\r\n",
    "hexadecimal": b"Content-Length: 0x2\r\n",
    "empty": b"Content-Length: \r\n",
    "a space in it": b"Content-Length: 1 4\r\n",
    "other digits": "Content-Length: \u0662\r\n".encode(),
    "beyond 64 bits": b"Content-Length: 18446744073709551616\r\n",
    "beside chunks": b"Content-Length: 2\r\n" + CHUNKED,
    "behind chunks": CHUNKED + b"Content-Length: 2\r\n",
    "chunks twice": CHUNKED * 2,
    "a coding that does not end it": b"Transfer-Encoding: gzip\r\n",
    "chunks that are not last": b"Transfer-Encoding: chunked, gzip\r\n",
}


@pytest.mark.parametrize("fields", LENGTHS.values(), ids=LENGTHS)
def test_a_length_that_two_readers_could_understand_differently_is_400(wire, ada, fields):
    data = get(b"/tasks", ada, JSON, fields, method=b"POST") + b"0\r\n\r\n" + get(b"/tasks", ada)
    assert refused(wire, data)


@pytest.mark.parametrize("coding", [b"gzip, chunked", b",chunked", b"xchunked, chunked"])
def test_another_transfer_coding_is_501(wire, ada, coding):
    data = get(b"/tasks", ada, JSON, b"Transfer-Encoding: %s\r\n" % coding, method=b"POST") + b"0\r\n\r\n"
    assert refused(wire, data, 501)


def test_a_transfer_coding_in_http_1_0_is_400(wire, ada):
    data = get(b"/tasks", ada, JSON, CHUNKED, method=b"POST", version=b"HTTP/1.0") + b"0\r\n\r\n"
    assert refused(wire, data)


@pytest.mark.parametrize(
    "size", [b"", b"g", b"-2", b"+2", b"0x2", b"2_0", b" 2", b"2 ", b"2\n", b"f" * 17, b"2\x00", b"2\r2"]
)
def test_a_chunk_size_that_is_none_is_400(wire, ada, size):
    data = get(b"/tasks", ada, JSON, CHUNKED, method=b"POST") + size + b"\r\n{}\r\n0\r\n\r\n"
    assert refused(wire, data)


def test_a_chunk_that_is_longer_than_it_says_is_400(wire, ada):
    data = get(b"/tasks", ada, JSON, CHUNKED, method=b"POST") + b"2\r\n{}}\r\n0\r\n\r\n"
    assert refused(wire, data)


HEADS = {
    "no request": (400, b"hello\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0": (505, get(b"/tasks", version=b"HTTP/2.0")),
    "HTTP/0.9": (505, b"GET /tasks\r\n"),
    "HTTP/1.2": (505, get(b"/tasks", version=b"HTTP/1.2")),
    "HTTP/9.9": (505, get(b"/tasks", version=b"HTTP/9.9")),
    "RTSP": (505, get(b"/echo", version=b"RTSP/1.0")),
    "ICE": (505, b"SOURCE /echo ICE/1.0\r\n\r\n"),
    "no version number": (400, get(b"/tasks", version=b"HTTP/x")),
    "a version in lower case": (400, get(b"/tasks", version=b"http/1.1")),
    "a method that is none": (501, get(b"/tasks", method=b"BREW")),
    "a method in lower case": (501, get(b"/tasks", method=b"get")),
    "no method": (400, get(b"/tasks", method=b"(")),
    "CONNECT": (405, get(b"localhost:80", method=b"CONNECT")),
    "an asterisk": (400, get(b"*")),
    "a path that is not ASCII": (400, get("/täsks".encode())),
    "a path with a space": (400, get(b"/ta sks")),
    "a path without a slash": (400, get(b"tasks")),
    "two spaces": (400, get(b" /tasks")),
    "a tab": (400, b"GET\t/tasks\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "a space behind the line": (400, get(b"/tasks", version=b"HTTP/1.1 ")),
    "a fragment": (400, get(b"/tasks#a")),
    "another scheme": (400, get(b"https://localhost/tasks")),
    "a user in the target": (400, get(b"http://ada@localhost/tasks")),
    "a line of 70 KB": (414, get(b"/tasks?" + b"a" * 70_000)),
    "a head of 2 MB": (431, get(b"/tasks", *(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(2000)))),
    "a space before the colon": (400, get(b"/tasks", b"X-A : 1\r\n")),
    "a folded field": (400, get(b"/tasks", b"X-A: 1\r\n 2\r\n")),
    "a field without a colon": (400, get(b"/tasks", b"X-A\r\n")),
    "a field without a name": (400, get(b"/tasks", b": 1\r\n")),
    "a space before the first field": (400, b"GET /tasks HTTP/1.1\r\n X-A: 1\r\n" + HOST + b"\r\n"),
    "a name that is not ASCII": (400, get(b"/tasks", b"X-\xe4: 1\r\n")),
    "a bare CR": (400, get(b"/tasks", b"X-A: 1\r2\r\n")),
    "NUL": (400, get(b"/tasks", b"X-A: 1\x002\r\n")),
    "bare line feeds": (400, b"GET /tasks HTTP/1.1\nHost: localhost\n\n"),
    "one bare line feed": (400, b"GET /tasks HTTP/1.1\r\nHost: localhost\n\r\n"),
    "an empty line that is none": (400, b"\nGET /tasks HTTP/1.1\r\n" + HOST + b"\r\n"),
    "an expectation nobody knows": (417, post(b"/tasks", b"{}", b"Expect: tea\r\n")),
}


@pytest.mark.parametrize(("status", "data"), HEADS.values(), ids=HEADS)
def test_a_head_that_is_not_http_is_refused(wire, status, data):
    assert refused(wire, data, status)


def test_empty_lines_before_a_request_are_skipped(wire):
    wire.send(b"\r\n\r\n")
    assert wire.goes_on()


@pytest.mark.parametrize(
    "target", [b"/tasks/../users", b"/%2e%2e/tasks", b"/tasks/%zz", b"/tasks/%2", b"/tasks/a%2Fb/../.."]
)
def test_a_path_that_two_readers_could_understand_differently_is_400_at_the_gateway(gate, ada, target):
    gate.ask(get(target, ada)).problem(400)
    assert gate.goes_on()


def test_a_request_line_of_8_kilobytes_is_answered(wire, ada):
    assert wire.ask(get(b"/tasks?limit=1&x=" + b"a" * 8000, ada)).status in {200, 422}
    assert wire.goes_on()


def test_an_upgrade_to_something_unknown_is_answered_as_if_nothing_were_said(wire, ada):
    assert wire.ask(get(b"/tasks", ada, b"Connection: Upgrade\r\nUpgrade: h2c\r\n")).status == 200
    assert wire.goes_on()


def test_pipelined_requests_are_answered_in_their_order(wire, ada):
    titles = [b"first", b"second", b"third"]
    wire.send(b"".join(post(b"/tasks", b'{"title": "%s"}' % title, ada, JSON) for title in titles))
    assert [json.loads(wire.answer().body)["title"].encode() for _ in titles] == titles
    assert wire.goes_on()


def test_an_answer_that_comes_before_the_body_leaves_the_connection_in_step(gate):
    gate.send(post(b"/early", b"", length=len(PLAIN)))
    assert gate.answer().status == 403
    gate.send(PLAIN)  # the body, though it looks like a request
    assert gate.goes_on()


def test_a_body_that_ends_too_early_changes_nothing(wire, ada, connect, site):
    wire.send(post(b"/tasks", b'{"title": "half"}', ada, JSON, length=100))
    wire.half_close()
    assert wire.ends()
    other = connect(site.gateway).ask(get(b"/tasks?limit=200", ada))
    assert "half" not in {item["title"] for item in json.loads(other.body)["items"]}


def test_a_head_that_ends_too_early_is_no_request(wire):
    wire.send(b"GET /tasks HTTP/1.1\r\nHost: loc")
    wire.half_close()
    assert wire.ends()


def test_a_body_that_does_not_arrive_in_time_is_408(gate):
    gate.send(post(b"/slow", b"ab", length=4))
    gate.answer().problem(408)
    gate.send(b"cd")
    assert gate.goes_on()


def test_fifty_clients_that_never_finish_their_heads_keep_nobody_waiting(site, connect):
    for _ in range(50):
        connect(site.gateway).send(b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nX-A: ")
    assert connect(site.gateway).goes_on()


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset])
def test_a_client_that_leaves_in_the_middle_of_an_answer_is_noticed(connect, site, leave):
    """And nothing is logged about it: `site` looks."""
    for _ in range(10):
        wire = connect(site.gateway)
        wire.send(get(b"/stream"))
        wire.receive(100_000)
        leave(wire)
        assert connect(site.gateway).ask(get(b"/gone")).body == b"gone"


def test_trailers_are_dropped(gate):
    gate.send(chunked(b"/echo", b"{}") + b"0\r\nAuthorization: Bearer x\r\n\r\n")
    answer = gate.answer()
    assert "authorization" not in dict(json.loads(answer.body)["headers"])
    assert gate.goes_on()


TRAILERS = {
    "no name": b": x\r\n",
    "a folded one": b"A: b\r\n c\r\n",
    "a bare line feed": b"A: b\nC: d\r\n",
}


@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
def test_a_malformed_trailer_is_400(wire, ada, trailer):
    data = chunked(b"/tasks", b"{}", fields=(ada, JSON)) + b"0\r\n" + trailer + b"\r\n"
    assert refused(wire, data)


def test_trailers_and_chunk_extensions_are_bounded(connect, site, ada):
    head = get(b"/tasks", ada, JSON, CHUNKED, method=b"POST")
    extended = b"1;%s\r\n \r\n" % (b"x" * 400)
    for data, status in (
        (b"0\r\n" + b"A: b\r\n" * 2000, 431),
        (extended * 50, 400),
        (b"1;" + b"x" * 600, 400),
    ):
        assert refused(connect(site.gateway), head + data, status)


def test_the_host_of_an_absolute_target_counts(wire):
    wire.ask(get(b"http://example.com/tasks")).problem(400)
    assert wire.goes_on()


def test_an_absolute_target_is_routed_by_its_path(gate):
    answer = gate.ask(b"GET http://localhost/echo?a=1 HTTP/1.1\r\nHost: example.com\r\n\r\n")
    found = json.loads(answer.body)
    assert found["query"] == "a=1"
    assert [value for name, value in found["headers"] if name == "host"] == ["localhost"]
    assert gate.goes_on()


def test_a_bad_request_behind_a_good_one_takes_nothing_from_it(wire, ada):
    wire.send(get(b"/tasks", ada) + b"GARBAGE\r\n\r\n")
    assert wire.answer().status == 200
    wire.answer().problem(400)
    assert wire.ends()


def test_a_client_that_closes_its_half_gets_its_answers(wire, ada):
    wire.send(get(b"/tasks", ada) * 3)
    wire.half_close()
    assert [wire.answer().status for _ in range(3)] == [200] * 3
    assert wire.ends()


def test_http_1_0_gets_a_plain_answer_and_the_end(wire, ada):
    wire.send(get(b"/tasks", ada, b"Connection: keep-alive\r\n", version=b"HTTP/1.0"))
    answer = wire.answer()
    assert answer.status == 200
    assert answer["connection"] == "close"
    assert not answer.all("transfer-encoding")
    assert wire.ends()


def test_http_1_0_is_never_asked_to_continue(wire, ada):
    fields = (ada, JSON, b"Expect: 100-continue\r\n", b"Content-Length: 14\r\n")
    wire.send(get(b"/tasks", *fields, method=b"POST", version=b"HTTP/1.0") + b'{"title": "x"}')
    assert wire.answer().status == 201


def test_a_head_that_does_not_end_in_time_is_408(wire):
    wire.send(b"GET /tasks HTTP/1.1\r\nHost: loc")
    wire.answer().problem(408)
    assert wire.ends()


def test_a_body_that_does_not_come_is_408_on_a_services_port(site, connect, ada):
    wire = connect(site.service("task"))
    wire.send(post(b"/tasks", b'{"ti', ada, JSON, length=14))
    wire.answer().problem(408)
    assert wire.ends()
