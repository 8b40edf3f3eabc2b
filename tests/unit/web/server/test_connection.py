"""A connection's life: bodies in, order, who waits for whom, and every way to end."""

from __future__ import annotations

import asyncio

import pytest

from micro.web.server.limits import HIGH_WATER, LINGER, MAX_DRAINED
from micro.web.server.turn import PROBLEM

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answers(data):
    return data.count(b"HTTP/1.1 200 OK\r\n")


def status(data):
    return int(data[9:12])


# Requests in.


@pytest.mark.parametrize("cut", range(1, len(POST % 2) + 2))
async def test_it_does_not_matter_where_a_request_is_cut(client, script, cut):
    data = POST % 2 + b"hi"
    client.send(data[:cut])
    assert answers(await client.ask(data[cut:] + GET)) == 2
    assert script.bodies == [b"hi", b""]
    assert client.protocol.idle


async def test_a_request_may_come_byte_by_byte(client, script):
    data = b"\r\n" + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + GET
    for at in range(len(data)):
        client.send(data[at : at + 1])
    await client.turn()
    assert script.bodies == [b"hi", b""]


async def test_a_body_in_chunks_is_put_together_and_trailers_are_dropped(client, script):
    await client.ask(CHUNKED + b"2\r\nhi\r\n5;x=y\r\n ther\r\n0\r\nAuthorization: x\r\n\r\n" + GET)
    assert script.bodies == [b"hi ther", b""]
    assert b"authorization" not in dict(script.scopes[0]["headers"])


async def test_pipelined_requests_are_answered_one_after_the_other(client, script):
    script.until = asyncio.Event()
    await client.ask(GET * 3)
    assert len(script.scopes) == 1
    script.until.set()
    await client.turn()
    await client.turn()
    assert answers(client.transport.written) == 3


async def test_a_bad_request_behind_a_good_one_takes_nothing_from_it(client, script):
    script.until = asyncio.Event()
    assert b"hello" not in await client.ask(GET + b"nonsense\r\n\r\n" + GET)
    script.until.set()
    await client.turn()
    written = client.transport.written
    assert answers(written) == 1
    assert status(written.partition(b"hello\r\n0\r\n\r\n")[2]) == 400
    assert client.transport.state == "half closed"
    assert len(script.scopes) == 1


async def test_who_sends_too_much_ahead_is_made_to_wait(client, script):
    script.until = asyncio.Event()
    await client.ask(GET)
    client.send(b"x" * (HIGH_WATER + 1))
    assert not client.transport.reading
    script.until.set()
    await client.turn()
    assert client.transport.reading


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (b"GET /", b"a" * 9000, 414),
        (b"GET /" + b"a" * 8000, b"a" * 1000, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nX: a\r\n\r", b"X: b\r\n\r\n", 400),
    ],
)
async def test_a_head_is_bounded_however_it_comes(client, first, then, expected):
    assert await client.ask(first) == b""
    assert status(await client.ask(then)) == expected


async def test_empty_lines_alone_are_no_request(client):
    for _ in range(3):
        assert await client.ask(b"\r\n") == b""
    assert answers(await client.ask(GET)) == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /a HTTP/1.1\r\nX: " + b"a" * 40_000, 431),
        (b"GET /a HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000, 414),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"\x16\x03\x01", 400),
        (b"GET / HTTP/3.0\r\n", 505),
    ],
)
async def test_what_is_no_request_is_refused_with_a_problem(client, script, data, expected):
    answer = await client.ask(data)
    assert status(answer) == expected
    assert b"\r\ncontent-type: application/problem+json\r\n" in answer
    assert b"\r\nconnection: close\r\n" in answer
    assert b'"request_id":"' in answer
    assert client.transport.state == "half closed"
    assert script.scopes == []
    assert await client.ask(GET) == b""


async def test_a_refused_client_is_let_go_once_it_had_time_to_read(client):
    client.send(b"nonsense\r\n\r\n")
    client.seconds(LINGER)
    assert client.transport.state == "half closed"
    client.seconds(1)
    assert client.transport.state == "aborted"


async def test_over_tls_there_is_no_half_close(serve, script):
    server = serve(script)
    client = server.connect(tls=True)
    client.send(b"nonsense\r\n\r\n")
    assert client.transport.state == "closed"
    script.until = asyncio.Event()
    client = server.connect(tls=True)
    await client.ask(GET)
    assert script.scopes[0]["scheme"] == "https"
    assert not client.protocol.eof_received()
    script.until.set()
    await client.turn()
    assert b"hello" not in client.transport.written


async def test_an_address_may_be_none(serve, script):
    client = serve(script).connect()
    client.transport.get_extra_info = lambda name, default=None: None
    client.protocol.connection_made(client.transport)
    await client.ask(GET)
    assert (script.scopes[0]["client"], script.scopes[0]["server"]) == (None, None)
    client.protocol.abort()
    assert client.transport.state == "aborted"


# Bodies.


async def test_the_body_streams_to_an_app_that_asks(client, script):
    await client.ask(POST % 4 + b"a")
    await client.ask(b"bc")
    await client.ask(b"d" + GET)
    assert [message["body"] for message in script.messages[:3]] == [b"a", b"bc", b"d"]
    assert [message["more_body"] for message in script.messages[:3]] == [True, True, False]


async def test_a_body_that_the_app_does_not_take_stops_the_client(serve):
    asked = asyncio.Event()

    async def app(scope, receive, send):
        await asked.wait()
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"%d" % size})

    client = serve(app).connect()
    await client.ask(POST % (HIGH_WATER * 2) + b"x" * (HIGH_WATER + 1))
    assert not client.transport.reading
    asked.set()
    await client.turn()
    assert client.transport.reading
    assert (await client.ask(b"x" * (HIGH_WATER - 1))).endswith(b"131072")


async def test_the_client_is_asked_to_continue_when_the_app_asks(client, script):
    assert await client.ask(EXPECT) == CONTINUE
    assert answers(await client.ask(b"hi")) == 1


async def test_an_app_that_does_not_ask_sends_no_100_and_nothing_behind_its_answer_is_read(client, script):
    """The client may leave the body out, or not: nobody can tell its next request from it."""
    script.reads = False
    answer = await client.ask(EXPECT)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close\r\n" in answer
    assert await client.ask(b"hi" + GET) == b""


async def test_what_nobody_read_of_a_body_is_dropped_and_not_taken_for_a_request(client, script):
    script.reads = False
    size = len(GET) * 3
    assert answers(await client.ask(POST % size)) == 1
    assert await client.ask(GET * 2) == b""
    assert answers(await client.ask(GET + GET)) == 1


async def test_in_chunks_too(client, script):
    script.reads = False
    assert answers(await client.ask(CHUNKED + b"2\r\nhi\r\n")) == 1
    assert answers(await client.ask(b"2\r\nhi\r\n0\r\n\r\n" + GET)) == 1


async def test_much_that_nobody_wants_ends_the_connection(client, script):
    script.reads = False
    assert b"connection: close" in await client.ask(POST % (MAX_DRAINED + 1))
    assert client.transport.state == "half closed"


async def test_in_chunks_it_ends_where_it_grows_too_much(client, script):
    script.reads = False
    await client.ask(CHUNKED)
    client.send(b"%x\r\n" % (MAX_DRAINED + 1))
    client.send(b"x" * MAX_DRAINED)
    assert client.transport.state == "open"
    client.send(b"x")
    assert client.transport.state == "half closed"


async def test_malformed_chunks_that_nobody_wants_end_it_too(client, script):
    script.reads = False
    await client.ask(CHUNKED)
    client.send(b"nonsense\r\n")
    assert client.transport.state == "half closed"


async def test_malformed_chunks_are_400_where_no_answer_has_begun(client, script):
    answer = await client.ask(CHUNKED + b"2\r\nhi\r\nx\r\n" + GET)
    assert status(answer) == 400
    assert script.messages[-1]["type"] == "http.disconnect"
    assert script.messages[-1][PROBLEM].status == 400


async def test_malformed_chunks_break_off_an_answer_that_has(client, script):
    script.reads = False
    script.until = asyncio.Event()
    await client.ask(CHUNKED)
    client.send(b"nonsense\r\n")
    assert client.transport.state == "aborted"


# Waiting.


async def test_an_app_waits_for_a_client_that_takes_no_more(client, script):
    script.answer.insert(1, {"type": "http.response.body", "body": b"x", "more_body": True})
    script.until = asyncio.Event()
    await client.ask(GET)
    client.protocol.pause_writing()
    script.until.set()
    assert not (await client.ask(GET)).endswith(b"0\r\n\r\n")
    client.protocol.resume_writing()
    await client.turn()
    assert b"0\r\n\r\n" in client.transport.written


async def test_an_answer_begins_no_sooner_than_the_one_before_was_taken(client):
    client.protocol.pause_writing()
    assert await client.ask(GET) == b""
    client.protocol.resume_writing()
    await client.turn()
    assert answers(client.transport.written) == 1


async def test_the_app_learns_that_the_answer_is_over(client, script):
    seen = []

    async def app(scope, receive, send):
        await script(scope, receive, send)
        seen.append(await receive())

    client.port.app = app
    await client.ask(GET)
    assert seen == [{"type": "http.disconnect"}]


async def test_the_app_learns_that_the_client_left(serve):
    seen = []

    async def app(scope, receive, send):
        await receive()
        seen.append(await receive())
        await send({"type": "http.response.start", "status": 200})

    client = serve(app).connect()
    await client.ask(GET)
    client.leave()
    await client.turn()
    assert seen == [{"type": "http.disconnect"}]
    assert client.protocol not in client.port.connections
