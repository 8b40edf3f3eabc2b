"""Bytes that nobody thought of: gateway and origin agree on where every message ends, whatever is sent.

The origin reads strictly what it gets, and answers each request with a mark of its own. So a request that the client
did not send, or an answer that is another's, shows.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rig.automatic import AutomaticOrigin, Memory, mark_of, requests_in
from rig.client import problem
from rig.message import Ended, Faulty, Source, chunks, read_status
from rig.written import get
from test_3_1_vectors import INBOUND, NEXT, OUTBOUND

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""The same examples every time, unless somebody looks for more."""

PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"0", b"5", b"\x00", b"\x0b", b"\xa0", b"\xff", b"_", b"+", b"-",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"\r\n\r\n", b"GET ", b"POST ", b"HEAD ", b"/a", b"?b", b"#", b"%2e", b"*", b"http://",
    b" HTTP/1.1", b" HTTP/1.0", b"Host: localhost", b"Content-Length: 5", b"Content-Length: ", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: ", b"chunked", b"Connection: close", b"Connection: keep-alive", b"Connection: Content-Length",
    b"Connection: Transfer-Encoding, Host", b"Expect: 100-continue", b"Upgrade: h2c", b"Trailer: X-A", b"X-A: 1", b"hello", NEXT,
]  # fmt: skip
"""What HTTP is made of."""

vectors = st.sampled_from([data for data, _ in INBOUND.values()] + [NEXT, get(b"/head", method=b"HEAD")])
piece = st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=3))


@st.composite
def mutated(draw, of=vectors):
    """A message with some bytes taken out, put in, or put in place of others."""
    data = draw(of)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.one_of(st.just(start), st.integers(start, min(len(data), start + 8))))
        data = data[:start] + draw(st.one_of(st.just(b""), piece)) + data[end:]
    return data


streams = st.one_of(
    st.lists(mutated(), min_size=1, max_size=4).map(b"".join),
    st.lists(piece, min_size=1, max_size=25).map(b"".join),
    st.lists(piece, max_size=8).map(
        lambda parts: b"GET /a HTTP/1.1\r\nHost: localhost\r\n" + b"\r\n".join(parts) + b"\r\n\r\n" + NEXT
    ),
)
cuts = st.lists(st.integers(0, 400), max_size=3).map(sorted)


@pytest.fixture
def automatic(world):
    """A gateway before an origin that answers by itself."""
    origin = world.call_async(AutomaticOrigin().open)
    world.origin.address = origin.address
    world.serve(urls=[origin.url])
    yield world, origin
    world.call_async(origin.close)


def sent(world, data, cuts):
    """Send `data` in pieces and everything that comes back until the gateway closes."""
    client = world.connect()
    start = 0
    for cut in [*(cut for cut in cuts if cut < len(data)), len(data)]:
        try:
            client.send(data[start:cut])
        except ConnectionError:
            break
        world.settle()
        start = cut
    return ended(world, client)


def ended(world, client):
    """Say that nothing more comes; what does, until the gateway closes or resets the connection."""
    try:
        client.half_close()
        received = client.source.everything()
    except OSError:
        received = client.source.drained()
    client.close()
    world.origin.clients.remove(client)
    return received


def answers_in(data, methods):
    """The whole answers in `data`, the first ones to `methods`; the rest is an answer that broke off."""
    found = []
    source = Source(Memory(data))
    methods = iter(methods)
    while source.has_more():
        try:
            answer = read_status(source)
            if answer.status < 200:
                continue
            method = next(methods, "GET")
            length = answer.length
            if method == "HEAD" or answer.status in {204, 304}:
                answer.body = b""
            elif length is None:
                answer.body = b"".join(chunks(source))
            else:
                answer.body = source.take(length) if length >= 0 else source.everything()
        except Ended:
            return found
        found.append(answer)
    return found


@pytest.mark.parametrize("how", ["at once", "in pieces"])
def test_what_the_origin_sees_is_what_the_client_is_answered(automatic, how):
    world, origin = automatic

    @FUZZ
    @given(data=streams, cuts=cuts if how == "in pieces" else st.just([]))
    @example(data=INBOUND["chunked and a length"][0] + NEXT, cuts=[])
    def check(data, cuts):
        origin.seen.clear()
        world.log.clear()
        received = sent(world, data, cuts)
        world.settle()
        assert origin.faults == []
        records = [record for record in world.log if record.upstream]
        through = [record for record in records if record.status == 200]
        assert len(origin.seen) <= len(records), (data, origin.seen)
        answers = answers_in(received, [record.method for record in world.log])
        assert all(answer.status != 500 for answer in answers), received
        passed = [answer for answer in answers if b"proxy-status" not in answer and answer.status == 200]
        marks = [(request[0], mark_of(request)) for request in origin.seen]
        for answer, (method, mark) in zip(passed, marks, strict=False):
            assert answer.body == (b"" if method == b"HEAD" else mark), (data, received)
        assert len(passed) == len(through) == len(origin.seen), (data, origin.seen, received, list(world.log))
        assert_allowed(data, origin.seen)

    check()


def assert_allowed(data, seen):
    """Where the strict reader finds requests in what was sent, those that passed are the first of them."""
    try:
        strict, _ = requests_in(data.lstrip(b"\r\n"))
    except (Faulty, ValueError):
        return
    bodies = [(method, body) for method, target, body in strict if target.startswith(b"/")]
    if all(target.startswith(b"/") for _, target, _ in strict):
        assert [(method, body) for method, _, body in seen] == [
            pair for pair in bodies if pair in [(method, body) for method, _, body in seen]
        ][: len(seen)]


answer_pieces = st.one_of(
    st.sampled_from(
        [
            *PIECES,
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.1 204 X\r\n",
            b"HTTP/1.1 103 X\r\n\r\n",
            b"HTTP/1.1 304 X\r\n",
            b"HTTP/1.1 101 X\r\n",
            b"Date: x\r\n",
            b"Set-Cookie: a=1\r\n",
            b"X-B: 2\r\n",
        ]
    ),
    st.binary(min_size=1, max_size=3),
)
replies = st.one_of(
    mutated(of=st.sampled_from([b"HTTP/1.1 200 OK\r\n" + data for data, _ in OUTBOUND.values()])),
    st.lists(answer_pieces, max_size=12).map(lambda parts: b"HTTP/1.1 200 OK\r\n" + b"".join(parts)),
    st.lists(answer_pieces, max_size=20).map(b"".join),
)


@pytest.mark.needs("bytes of an answer")
def test_an_answer_is_passed_on_as_the_strict_reader_has_it_or_not_at_all(automatic):
    world, origin = automatic

    @FUZZ
    @given(data=replies, method=st.sampled_from([b"GET", b"HEAD", b"POST"]))
    @example(data=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", method=b"GET")
    def check(data, method):
        origin.answers = {b"/fuzz": data}
        client = world.connect()
        client.send(get(b"/fuzz", method=method))
        received = ended(world, client)
        assert origin.faults == []
        answers = answers_in(received, [method.decode()])
        assert len(answers) <= 1, (data, received)
        if answers and answers[0].status == 502:
            problem(
                answers[0], 502, answers[0][b"proxy-status"].decode().rpartition("=")[2]
            ) if method != b"HEAD" else None
        elif answers:
            assert agrees(answers[0], data, method.decode()), (data, received)
        own = world.connect()
        answer = own.ask(get(b"/check"))
        assert answer.body == mark_of((b"GET", b"/check", b"")), (data, answer.wire)
        own.close()
        world.origin.clients.remove(own)

    check()


def agrees(answer, data, method):
    """Whether the strict reader has the same body in what the origin sent; true where it has none at all."""
    if method == "HEAD" or answer.status in {204, 304}:
        return answer.body == b""
    source = Source(Memory(data))
    try:
        strict = read_status(source)
        while strict.status < 200:
            strict = read_status(source)
        length = strict.length
        if length is None:
            return answer.body == b"".join(chunks(source))
        return answer.body == (source.take(length) if length >= 0 else source.everything())
    except (Faulty, Ended, ValueError):
        return answer.body in data or answer.length is None
