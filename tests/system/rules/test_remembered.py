"""Clients and instances that repeat themselves: what was read once is not read again, and nobody can tell.

A connection remembers the header of its last request, an instance's connection that of its last answer. Each test sends
the same bytes again, and then bytes that are the same but for what matters.
"""

from __future__ import annotations

import pytest
from rig.client import problem
from rig.written import HOST, get

BLOCK = b"\r\nHost: localhost\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n"


def exchanged(world, client, data, *, target, body=b"", answer=b"ok", method=b"GET"):
    """One exchange on a connection, told apart by its target."""
    client.send(data)
    got = world.origin.request()
    assert (got.target, got.body()) == (target, body)
    got.answer(200, body=b"" if method == b"HEAD" else answer)
    assert client.answer(method=method).body == (b"" if method == b"HEAD" else answer)
    return got


def test_every_request_has_a_body_of_its_own_though_the_fields_are_the_same(world):
    client = world.connect()
    for number, body in enumerate([b"first", b"other", b"third"]):
        line = b"POST /%d HTTP/1.1" % number
        client.send(line + BLOCK)
        world.settle()
        exchanged(world, client, body, target=b"/%d" % number, body=body)
    for number, body in enumerate([b"first", b"other", b"third"]):
        exchanged(
            world, client, b"PUT /%d HTTP/1.1" % number + BLOCK + body, target=b"/%d" % number, body=body
        )
    client.send(b"POST /last HTTP/1.1" + BLOCK + b"fift" + b"h" + get(b"/next"))
    assert world.origin.request().answer(body=b"1").body() == b"fifth"
    assert world.origin.request().answer(body=b"2").target == b"/next"
    assert [client.answer().body for _ in range(2)] == [b"1", b"2"]


def test_what_is_different_for_each_request_is_different_though_the_fields_are_the_same(world):
    client = world.connect()
    gots = [
        exchanged(world, client, get(b"/%d?a=%d" % (n, n)), target=b"/%d?a=%d" % (n, n)) for n in range(4)
    ]
    for name in (b"x-request-id", b"traceparent"):
        assert len({got[name] for got in gots}) == 4, name
    assert len({got[b"via"] for got in gots}) == 1
    same = {b"x-request-id", b"x-correlation-id", b"traceparent"}
    assert len({tuple(pair for pair in got.fields if pair[0] not in same) for got in gots}) == 1


def test_a_trace_is_not_lost_on_the_second_request_that_brings_it(world):
    client = world.connect()
    fields = [b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"tracestate: a=1"]
    bad = [b"traceparent: garbage", b"tracestate: a=1"]
    for _ in range(3):
        got = exchanged(world, client, get(b"/", *fields), target=b"/")
        assert got[b"tracestate"] == b"a=1"
        assert got[b"traceparent"][3:35] == b"4bf92f3577b34da6a3ce929d0e0e4736"
    for _ in range(3):
        got = exchanged(world, client, get(b"/", *bad), target=b"/")
        assert b"tracestate" not in got


def test_chains_of_forwarded_fields_do_not_grow_from_request_to_request(world):
    world.serve(trusted_proxies=("127.0.0.1/32",))
    client = world.connect()
    fields = [
        b"X-Forwarded-For: 203.0.113.9",
        b"Via: 1.1 p",
        b"Forwarded: for=203.0.113.9",
        b"Max-Forwards: 9",
    ]
    for _ in range(3):
        got = exchanged(world, client, get(b"/", *fields, method=b"OPTIONS"), target=b"/")
        assert got[b"x-forwarded-for"] == b"203.0.113.9, 127.0.0.1"
        assert got[b"via"].count(b",") == 1
        assert got[b"forwarded"].count(b"for=") == 2
        assert got[b"max-forwards"] == b"8"


@pytest.mark.parametrize(
    "second",
    [
        get(b"/%zz"),
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /x HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET http://evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /x#y HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET  /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /x\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /x\nX-A: 1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"TRACE /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"FOO /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xe4 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_request_line_is_read_as_strictly_behind_fields_that_are_known(world, second):
    client = world.connect()
    for _ in range(2):
        exchanged(world, client, get(b"/"), target=b"/")
    answer = client.ask(second)
    problem(answer, answer.status)
    assert answer.status in {400, 405, 501, 505}
    assert world.is_silent()


def test_close_and_http_1_0_are_heard_behind_fields_that_are_known(world):
    client = world.connect()
    for _ in range(2):
        exchanged(world, client, get(b"/"), target=b"/")
    exchanged(world, client, b"GET / HTTP/1.0\r\n" + HOST + b"\r\n\r\n", target=b"/")
    assert client.ends()


def test_a_client_s_fields_are_never_another_s(world):
    clients = [world.connect() for _ in range(3)]
    for _ in range(3):
        for number, client in enumerate(clients):
            got = exchanged(world, client, get(b"/", b"Cookie: a=%d" % number), target=b"/")
            assert got[b"cookie"] == b"a=%d" % number


def test_every_answer_has_a_body_of_its_own_though_its_head_is_the_same(world):
    client = world.connect()
    lines = set()
    for body in (b"first", b"other", b"third", b"longer than those", b"first"):
        got = exchanged(world, client, get(), target=b"/", answer=body)
        lines.add(got.line.number)
    assert len(lines) == 1 or not world.is_network


def test_fields_that_a_policy_changed_are_as_they_came_the_next_time(world):
    client = world.connect()
    for _ in range(3):
        client.send(get())
        world.origin.request().answer(200, b"X-B: 2", b"Connection: X-B", b"Set-Cookie: a=1", body=b"hello")
        answer = client.answer()
        assert b"x-b" not in answer
        assert answer.all(b"set-cookie") == [b"a=1"]
        assert len(answer.all(b"x-request-id")) == 1


def test_head_behind_get_has_no_body_though_the_answer_is_the_same(world):
    client = world.connect()
    for method in (b"GET", b"GET", b"HEAD", b"GET", b"HEAD", b"GET"):
        client.send(get(method=method))
        got = world.origin.request()
        got.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if method == b"HEAD" else b"hello"))
        assert client.answer(method=method).body == (b"" if method == b"HEAD" else b"hello")


@pytest.mark.needs("bytes of an answer")
def test_an_answer_that_begins_as_the_last_one_is_whole_only_at_its_own_end(world):
    client = world.connect()
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n"
    for pieces in (
        [head + b"hello"],
        [head + b"hello"],
        [head, b"world"],
        [head + b"he", b"llo"],
        [head[:20], head[20:] + b"abcde"],
    ):
        client.send(get())
        got = world.origin.request()
        for piece in pieces:
            got.send(piece)
            world.settle()
        assert client.answer().body == b"".join(pieces)[len(head) :]
    client.send(get())
    got = world.origin.request()
    got.send(head + b"hell")
    answer = client.head()
    got.line.close()
    assert client.breaks_off(answer)


@pytest.mark.needs("bytes of an answer")
def test_poison_of_the_same_size_as_the_last_answer_is_given_to_nobody(world):
    client = world.connect()
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n"
    for _ in range(3):
        client.send(get())
        got = world.origin.request()
        got.send(head + b"hello")
        assert client.answer().body == b"hello"
    got.send(head + b"toxic")
    world.settle()
    assert world.again(client)
    assert got.gone()
