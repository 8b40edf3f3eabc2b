"""The short path: the answer, on its way to the client, and what is left where there is none."""

from __future__ import annotations

import pytest

GET = b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n\r\n"
OLD = b"GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = (b"content-type", b"text/plain")


# And back.


async def test_head_and_body_leave_as_one_write(client):
    client.send(GET).answer()
    written = await client.next()
    head, _, body = written.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n")
    assert head.endswith(b"\r\ndate: today")
    assert b"x-request-id: " in head
    (record,) = client.log
    assert (record.status, record.bytes, record.upstream) == (200, 5, "far")
    assert client.protocol.idle


async def test_a_whole_answer_may_come_in_one_call(client):
    leg = client.send(GET)
    leg.downstream.head(200, [PLAIN, (b"content-length", b"5")], 5, body=b"hello")
    written = await client.next()
    assert written.endswith(b"\r\ndate: today\r\n\r\nhello")
    assert [(record.status, record.bytes) for record in client.log] == [(200, 5)]
    assert client.protocol.idle


@pytest.mark.parametrize(
    ("data", "fields", "length", "body", "end"),
    [
        (GET, [], None, b"hello", b"content-length: 5\r\ndate: today\r\n\r\nhello"),
        (GET, [(b"content-length", b"0")], 0, b"", b"date: today\r\n\r\n"),
        (HEAD, [(b"content-length", b"5")], 0, b"", b"date: today\r\n\r\n"),
        (OLD, [(b"content-length", b"5")], 5, b"hello", b"connection: close\r\ndate: today\r\n\r\nhello"),
    ],
)
async def test_so_may_an_empty_one_and_one_without_a_length(client, data, fields, length, body, end):
    client.send(data).downstream.head(200, [PLAIN, *fields], length, body=body)
    assert (await client.next()).endswith(end)
    assert client.log[0].bytes == len(body)


async def test_a_whole_answer_of_another_length_breaks_the_connection(client, caplog):
    client.send(GET).downstream.head(200, [PLAIN, (b"content-length", b"9")], 9, body=b"hello")
    assert client.transport.state == "aborted"


async def test_pieces_of_one_turn_leave_together_and_later_ones_as_they_come(client):
    leg = client.send(GET)
    leg.head(length=6)
    leg.downstream.feed(b"ab")
    leg.downstream.feed(b"cd")
    assert (await client.next()).endswith(b"\r\n\r\nabcd")
    leg.downstream.feed(b"ef")
    assert await client.next() == b"ef"
    leg.downstream.end()
    assert client.log[0].bytes == 6


async def test_a_head_leaves_before_its_body_where_that_takes_its_time(client):
    leg = client.send(GET)
    leg.head()
    assert b"transfer-encoding: chunked\r\n" in await client.next()
    leg.downstream.feed(b"data: 1\n\n")
    assert await client.next() == b"9\r\ndata: 1\n\n\r\n"
    leg.downstream.end()
    assert await client.next() == b"0\r\n\r\n"
    assert client.protocol.idle


async def test_an_answer_without_a_length_that_came_whole_gets_one(client):
    leg = client.send(GET)
    leg.head()
    leg.downstream.feed(b"hello")
    leg.downstream.end()
    written = await client.next()
    assert b"content-length: 5\r\n" in written
    assert b"chunked" not in written


async def test_a_piece_that_comes_with_the_head_is_a_chunk(client):
    leg = client.send(GET)
    leg.head()
    leg.downstream.feed(b"hello")
    assert (await client.next()).endswith(b"\r\n\r\n5\r\nhello\r\n")


async def test_http_1_0_gets_no_chunks_and_the_end(client):
    leg = client.send(OLD)
    leg.head()
    leg.downstream.feed(b"hel")
    await client.turn()
    leg.downstream.feed(b"lo")
    leg.downstream.end()
    written = await client.next()
    assert written.endswith(b"\r\n\r\nhello")
    assert b"connection: close" in written
    assert b"chunked" not in written
    assert client.transport.state == "closed"


@pytest.mark.parametrize(
    ("data", "status", "length"), [(HEAD, 200, 5), (GET, 304, None), (GET, 204, None), (HEAD, 404, None)]
)
async def test_an_answer_without_a_body_has_none(client, data, status, length):
    leg = client.send(data)
    leg.downstream.head(status, [PLAIN, *([(b"content-length", b"5")] if length else [])], 0)
    leg.downstream.end()
    written = await client.next()
    assert written.startswith(b"HTTP/1.1 %d " % status)
    assert written.endswith(b"\r\n\r\n")
    assert (b"content-length: 5" in written) is bool(length)
    assert b"transfer-encoding" not in written
    assert client.protocol.idle


async def test_pipelined_requests_are_answered_in_their_order(client):
    client.send(GET * 3)
    for _ in range(3):
        await client.turn()
        client.leg.answer(b"%d" % len(client.upstream.legs))
    written = await client.next()
    assert [part[-1:] for part in written.split(b"HTTP/1.1 200 OK")[1:]] == [b"1", b"2", b"3"]


async def test_an_upstream_may_answer_before_start_returns(client):
    client.upstream.at_once = lambda leg: leg.answer()
    client.send(GET)
    assert (await client.next()).endswith(b"hello")
    client.upstream.at_once = lambda leg: leg.fail()
    client.send(POST % 2)
    client.problem(await client.next(), 502)
    assert client.leg.done == ["cancel"]


@pytest.mark.parametrize("status", [102, 103])
async def test_an_interim_answer_is_passed_on(client, status):
    leg = client.send(GET)
    leg.downstream.head(status, [(b"link", b"</a>")], 0)
    assert await client.next() == b"HTTP/1.1 %d %b\r\nlink: </a>\r\n\r\n" % (
        status,
        {102: b"Processing", 103: b"Early Hints"}[status],
    )
    leg.answer()
    leg.downstream.head(status, [], 0)
    assert (await client.next()).endswith(b"hello")


async def test_an_interim_answer_is_nothing_for_http_1_0(client):
    client.send(OLD).downstream.head(103, [], 0)
    assert await client.next() == b""


async def test_a_client_is_asked_to_continue_by_the_instance_and_once(client):
    expecting = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") % 2
    leg = client.send(expecting)
    assert await client.next() == b""
    leg.downstream.head(100, [], 0)
    leg.downstream.head(100, [], 0)
    assert await client.next() == b"HTTP/1.1 100 Continue\r\n\r\n"
    leg = client.send(b"hi")
    assert leg.done == [b"hi", "end"]
    leg.answer()
    await client.next()
    client.send(GET).downstream.head(100, [], 0)
    assert await client.next() == b""


# What goes wrong.


@pytest.mark.parametrize(
    ("kind", "status"),
    [("connection_refused", 502), ("connection_timeout", 504), ("destination_unavailable", 503)],
)
async def test_no_answer_is_a_problem_that_tells_nothing_of_the_inside(client, kind, status, caplog):
    client.send(GET).fail(kind)
    head = client.problem(await client.next(), status)
    assert b"proxy-status: micro; error=" + kind.encode() in head
    assert client.log[0].status == status
    assert client.protocol.idle
    assert "secret.internal" in caplog.text


@pytest.mark.parametrize("turn", [True, False])
async def test_half_an_answer_breaks_the_connection(client, turn, caplog):
    leg = client.send(GET)
    leg.head(length=9)
    leg.downstream.feed(b"half")
    if turn:
        await client.turn()
    leg.fail("http_response_incomplete")
    assert client.transport.state == "aborted"
    assert (await client.next()).endswith(b"half")
    assert leg.exchange.error == "http_response_incomplete"
    assert len(client.log) == 1


@pytest.mark.parametrize("pieces", [[b"hello!"], [b"hell"]])
async def test_so_does_one_of_another_length(client, pieces, caplog):
    leg = client.send(GET)
    leg.head(length=5)
    for piece in pieces:
        leg.downstream.feed(piece)
    leg.downstream.end()
    assert client.transport.state == "aborted"
    assert "cancel" in leg.done


async def test_what_comes_after_the_end_is_dropped(client, caplog):
    leg = client.send(GET)
    leg.fail()
    await client.next()
    leg.head()
    leg.downstream.feed(b"late")
    leg.downstream.end()
    leg.fail()
    assert await client.next() == b""


async def test_a_client_that_leaves_ends_the_work(client):
    leg = client.send(GET)
    client.protocol.connection_lost(None)
    assert leg.done == ["cancel"]
    assert [record.status for record in client.log] == [499]
    client.protocol.connection_lost(None)
    assert len(client.log) == 1


async def test_one_that_leaves_in_the_middle_has_the_status_it_saw(client):
    leg = client.send(GET)
    leg.head(length=9)
    await client.turn()
    client.protocol.connection_lost(ConnectionResetError())
    assert leg.done == ["cancel"]
    assert [record.status for record in client.log] == [200]


async def test_a_body_that_broke_off_ends_the_work(client):
    leg = client.send(POST % 4 + b"bo")
    client.protocol.eof_received()
    assert leg.done == [b"bo", "cancel"]


async def test_a_client_that_closed_its_half_gets_its_answer(client):
    leg = client.send(GET)
    assert client.protocol.eof_received() is True
    leg.answer()
    assert (await client.next()).endswith(b"hello")
    assert client.transport.state == "closed"


async def test_malformed_chunks_are_400(client):
    leg = client.send(CHUNKED + b"2\r\nhi\r\nx\r\n")
    head = client.problem(await client.next(), 400)
    assert b"connection: close" in head
    assert leg.done == ["cancel"]
    assert client.transport.state == "half closed"


async def test_malformed_chunks_break_an_answer_off(client, caplog):
    leg = client.send(CHUNKED)
    leg.head(length=9)
    await client.turn()
    client.send(b"x\r\n")
    assert client.transport.state == "aborted"
    assert leg.done == ["cancel"]


async def test_a_body_that_grows_too_large_is_413(gate):
    client = gate(max_body=3)
    leg = client.send(CHUNKED + b"2\r\nhi\r\n")
    client.send(b"2\r\nho\r\n0\r\n\r\n" + GET)
    client.problem(await client.next(), 413)
    assert leg.done == [b"hi", "cancel"]
    client.leg.answer()
    assert (await client.next()).endswith(b"hello")


async def test_it_breaks_an_answer_off_that_has_begun(gate):
    client = gate(max_body=3)
    client.send(CHUNKED + b"2\r\nhi\r\n").head(length=9)
    await client.turn()
    client.send(b"2\r\nho\r\n")
    assert client.transport.state == "aborted"


async def test_an_announced_body_that_is_too_large_is_413_at_once(gate):
    client = gate(max_body=3)
    client.send(POST % 4)
    client.problem(await client.next(), 413)
    assert client.upstream.legs == []
    client.send(b"body" + GET)
    client.leg.answer()
    assert (await client.next()).endswith(b"hello")


# Filters.


class Shouting:
    """A body filter, and the policy that asks for it."""

    def on_response(self, exchange):
        return self

    def feed(self, data):
        return data.upper().replace(b"-", b"")

    def end(self):
        return b"!"


@pytest.fixture
async def filtered(client, monkeypatch):
    (_, pipeline), *_ = client.bench.gateway.plan.rows
    monkeypatch.setattr(pipeline, "responses", (*pipeline.responses, Shouting().on_response))
    return client


async def test_a_body_filter_changes_what_passes(filtered):
    filtered.send(GET).answer(b"hello")
    written = await filtered.next()
    assert written.endswith(b"\r\n\r\nHELLO!")
    assert written.count(b"content-length: ") == 1
    assert b"content-length: 6\r\n" in written
    assert filtered.log[0].bytes == 6


async def test_a_filtered_stream_is_sent_in_chunks(filtered):
    leg = filtered.send(GET)
    leg.head(length=6)
    leg.downstream.feed(b"ab")
    await filtered.turn()
    leg.downstream.feed(b"-")
    leg.downstream.feed(b"cde")
    leg.downstream.end()
    assert (await filtered.next()).endswith(b"\r\n\r\n2\r\nAB\r\n3\r\nCDE\r\n1\r\n!\r\n0\r\n\r\n")


async def test_a_filtered_stream_to_http_1_0_ends_with_the_connection(filtered):
    leg = filtered.send(OLD)
    leg.head(length=2)
    leg.downstream.feed(b"ab")
    await filtered.turn()
    leg.downstream.end()
    assert (await filtered.next()).endswith(b"\r\n\r\nAB!")
    assert filtered.transport.state == "closed"


async def test_a_filter_changes_a_whole_answer(filtered):
    filtered.send(GET).downstream.head(200, [PLAIN, (b"content-length", b"5")], 5, body=b"hello")
    assert (await filtered.next()).endswith(b"\r\n\r\nHELLO!")


async def test_a_filter_without_a_body_is_not_asked(filtered):
    leg = filtered.send(HEAD)
    leg.head(length=0)
    leg.downstream.end()
    assert (await filtered.next()).endswith(b"\r\n\r\n")


async def test_refusals_pass_filters_too(filtered):
    filtered.send(GET).fail()
    written = await filtered.next()
    assert written.endswith(b"}!")
    assert b"HTTP/1.1 502 " in written


async def test_a_policy_that_fails_on_an_answer_is_500(client, monkeypatch, caplog):
    def broken(exchange):
        raise ValueError("broken")

    (_, pipeline), *_ = client.bench.gateway.plan.rows
    monkeypatch.setattr(pipeline, "responses", (broken,))
    leg = client.send(GET)
    leg.head(length=5)
    assert leg.done == ["cancel"]
    assert (await client.next()).startswith(b"HTTP/1.1 500 ")
    assert "broken" in caplog.text


async def test_a_field_of_a_users_policy_that_can_not_be_sent_is_500(client, caplog, monkeypatch):
    def on_response(exchange):
        exchange.fields.append((b"a", b"b\r\nc: d"))

    (_, pipeline), *_ = client.bench.gateway.plan.rows
    assert not pipeline.foreign
    monkeypatch.setattr(pipeline, "foreign", True)
    client.send(GET).answer()
    assert b"hello" in await client.next()
    monkeypatch.setattr(pipeline, "responses", (on_response,))
    client.send(GET).answer()
    client.problem(await client.next(), 500)
    assert client.transport.state == "open"
