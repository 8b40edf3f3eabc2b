"""How ASGI applications' answers leave: framing, fields, and what happens to those that break the rules."""

from __future__ import annotations

import asyncio

import pytest

from micro.web.server.answer import InvalidField, check, check_name, render

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\n\r\n"
DATE = b"date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


def start(status=200, *fields):
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def body(data=b"", *, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_the_app_gets_its_scope(client, script):
    await client.ask(b"POST /a%20b%2Fc?d=e HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi")
    (scope,) = script.scopes
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("192.0.2.9", 80),
        "client": ("192.0.2.1", 5000),
        "scheme": "http",
        "root_path": "",
        "headers": [(b"host", b"x"), (b"x-a", b"1"), (b"content-length", b"2")],
        "state": {"shared": 1},
        "method": "POST",
        "path": "/a b/c",
        "raw_path": b"/a%20b%2Fc",
        "query_string": b"d=e",
    }
    assert script.bodies == [b"hi"]


async def test_an_answer_in_one_piece_has_its_length_and_leaves_as_one_write(client):
    answer = await client.ask(GET)
    assert answer == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n" + DATE + b"\r\nhello"
    )
    assert len(client.transport.writes) == 1


async def test_an_answer_in_pieces_is_sent_in_chunks_as_they_come(client, script):
    script.until = asyncio.Event()
    script.answer = [start(), body(b"ab", more=True), body(b"cd", more=True), body()]
    assert (await client.ask(GET)).endswith(
        b"transfer-encoding: chunked\r\n" + DATE + b"\r\n2\r\nab\r\n2\r\ncd\r\n"
    )
    script.until.set()
    await client.turn()
    assert client.transport.written.endswith(b"cd\r\n0\r\n\r\n")


async def test_a_head_leaves_before_its_body_where_that_takes_its_time(client, script):
    script.until = asyncio.Event()
    script.answer = [start(), body(b"hello")]
    assert (await client.ask(GET)).endswith(b"transfer-encoding: chunked\r\n" + DATE + b"\r\n")
    script.until.set()
    await client.turn()
    assert client.transport.written.endswith(b"\r\n5\r\nhello\r\n0\r\n\r\n")


async def test_a_declared_length_is_kept(client, script):
    script.answer = [start(200, (b"Content-Length", b"4")), body(b"ab", more=True), body(b"cd")]
    assert (await client.ask(GET)).endswith(b"\r\ncontent-length: 4\r\n" + DATE + b"\r\nabcd")


async def test_http_1_0_gets_no_chunks_and_the_end(client, script):
    script.answer = [start(), body(b"ab", more=True), body(b"cd")]
    answer = await client.ask(OLD)
    assert answer.endswith(b"connection: close\r\n" + DATE + b"\r\nabcd")
    assert b"chunked" not in answer
    assert client.transport.state == "closed"


@pytest.mark.parametrize(
    ("request_", "status", "fields", "kept"),
    [
        (HEAD, 200, [(b"content-length", b"5")], b"content-length: 5\r\n"),
        (HEAD, 200, [], b""),
        (GET, 204, [(b"content-length", b"5")], b""),
        (GET, 304, [(b"content-length", b"5")], b"content-length: 5\r\n"),
    ],
)
async def test_an_answer_without_a_body_has_none(client, script, request_, status, fields, kept):
    """RFC 9110 section 6.4.1, whatever the application sends."""
    script.answer = [start(status, *fields), body(b"he", more=True), body(b"llo")]
    answer = await client.ask(request_)
    assert answer.endswith(b"\r\n" + kept + DATE + b"\r\n")
    assert b"transfer-encoding" not in answer
    assert client.protocol.idle


@pytest.mark.parametrize(
    "messages",
    [
        [start(200, (b"content-length", b"4")), body(b"ab", more=True), body(b"cde")],
        [start(200, (b"content-length", b"4")), body(b"ab", more=True), body(b"c")],
        [start(), body(b"ab", more=True), start()],
        [start(), body(b"ab", more=True)],
        [start(), body(b"ab", more=True), {"type": "http.nonsense"}],
    ],
)
async def test_an_answer_that_began_and_can_not_be_completed_breaks_the_connection(client, script, messages):
    script.answer = messages
    await client.ask(GET)
    assert client.transport.state == "aborted"
    assert client.transport.socket.options  # reset: a close would be an end
    assert not client.transport.written.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [body(b"ab")],
        [start(100)],
        [start(600)],
        [start(200, (b"a", b"b\r\nc: d"))],
        [start(200, (b"a", b"b\nc"))],
        [start(200, (b"a", b"b\0c"))],
        [start(200, (b"a:", b"b"))],
        [start(200, (b"", b"b"))],
        [start(200, (b"content-length", b"+4"))],
    ],
)
async def test_an_answer_that_can_not_begin_is_500(client, script, messages, caplog):
    script.answer = messages
    answer = await client.ask(GET)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"application/problem+json" in answer
    assert b"connection: close" in answer
    assert "the application" in caplog.text


async def test_an_app_that_returns_something_is_told(serve, caplog):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x"))
        return 7

    client = serve(app).connect()
    assert (await client.ask(GET)).endswith(b"\r\n\r\nx")
    assert "returned 7" in caplog.text
    assert client.protocol.idle


async def test_an_error_after_the_answer_is_logged_and_harms_nobody(serve, caplog):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x"))
        raise ValueError("too late")

    client = serve(app).connect()
    await client.ask(GET)
    assert "too late" in caplog.text
    assert (await client.ask(GET)).endswith(b"\r\n\r\nx")


async def test_a_cancelled_app_breaks_the_connection(client, script):
    script.until = asyncio.Event()
    script.answer = [start(), body(b"ab", more=True), body()]
    await client.ask(GET)
    for task in tuple(client.port.tasks):
        task.cancel()
    await client.turn()
    assert client.transport.state == "aborted"


async def test_an_apps_own_date_is_the_only_one(client, script):
    script.answer = [start(200, (b"Date", b"yesterday")), body(b"x")]
    answer = await client.ask(GET)
    assert answer.lower().count(b"date: ") == 1
    assert b"date: yesterday" in answer


async def test_the_date_follows_the_servers(client):
    await client.ask(GET)
    client.port.state.default_headers = [(b"date", b"later"), (b"x", b"y")]
    assert b"\r\ndate: later\r\nx: y\r\n\r\n" in await client.ask(GET)


async def test_an_app_may_end_the_connection_but_not_frame_the_answer(client, script):
    script.answer = [
        start(200, (b"connection", b"close"), (b"transfer-encoding", b"gzip"), (b"content-length", b"1")),
        body(b"x"),
    ]
    answer = await client.ask(GET)
    assert answer.count(b"connection: close") == 1
    assert b"gzip" not in answer
    assert client.transport.state == "closed"


async def test_a_second_length_is_dropped(client, script):
    script.answer = [start(200, (b"content-length", b"1"), (b"content-length", b"2")), body(b"x")]
    assert (await client.ask(GET)).count(b"content-length") == 1


def test_a_head_is_lines():
    assert render(200, [(b"a", b"b")], b"\r\n") == b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"
    assert render(299, [], b"c: d\r\n\r\n") == b"HTTP/1.1 299 \r\nc: d\r\n\r\n"
    assert render(413, [], b"\r\n").startswith(b"HTTP/1.1 413 Content Too Large\r\n")


def test_fields_have_no_line_breaks():
    check([])
    check([(b"a", b"b"), (b"c", b"")])
    for value in (b"\r", b"\n", b"\0", b"a\r\nb: c"):
        with pytest.raises(InvalidField):
            check([(b"a", value)])
        with pytest.raises(InvalidField):
            check([(value, b"a"), (b"b", b"c")])


def test_names_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("micro.web.server.answer._MAX_KNOWN", 0)
    check_name(b"x-never-seen")
    monkeypatch.setattr("micro.web.server.answer._MAX_KNOWN", 1 << 20)
    check_name(b"x-never-seen")
    check_name(b"x-never-seen")
    with pytest.raises(InvalidField):
        check_name(b"x y")
