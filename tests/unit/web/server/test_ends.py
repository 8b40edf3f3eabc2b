"""How a connection ends: half-closed clients, time, too many of them, and handing over."""

from __future__ import annotations

import asyncio

import pytest

from micro.web.server.limits import HALF_CLOSED, HIGH_WATER, SLOW_AFTER
from micro.web.server.room import connections_for, open_files
from micro.web.server.turn import PROBLEM

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def answers(data):
    return data.count(b"HTTP/1.1 200 OK\r\n")


def status(data):
    return int(data[9:12])


# Half-closed clients.


async def test_a_client_that_closed_its_half_gets_its_answers(client, script):
    script.until = asyncio.Event()
    await client.ask(GET * 2)
    assert client.protocol.eof_received() is True
    script.until.set()
    await client.turn()
    await client.turn()
    assert answers(client.transport.written) == 2
    assert client.transport.state == "closed"


async def test_the_rest_of_a_request_does_not_count_then(client, script):
    script.until = asyncio.Event()
    await client.ask(GET + b"GET /b HTTP")
    client.protocol.eof_received()
    script.until.set()
    await client.turn()
    assert client.transport.state == "closed"
    assert answers(client.transport.written) == 1


async def test_between_two_answers_too(client):
    client.send(GET * 2)
    while answers(client.transport.written) < 1:
        await client.turn()
    client.protocol.eof_received()
    await client.turn()
    assert answers(client.transport.written) == 2


async def test_an_idle_connection_ends_with_the_client(client):
    assert not client.protocol.eof_received()
    client.send(b"GET")
    assert not client.protocol.eof_received()


async def test_a_body_that_broke_off_is_nobodys(client, script):
    await client.ask(POST % 4 + b"ab")
    assert not client.protocol.eof_received()
    await client.turn()
    assert script.messages[-1] == {"type": "http.disconnect"}
    assert client.transport.written == b""


async def test_a_client_that_closed_its_half_and_takes_nothing_is_given_up_in_the_end(client, script):
    script.until = asyncio.Event()
    await client.ask(GET)
    client.protocol.eof_received()
    client.seconds(HALF_CLOSED)
    assert client.transport.state == "open"
    client.seconds(1)
    assert client.transport.state == "aborted"


async def test_unless_it_is_sent_something_meanwhile(client, script):
    script.until = asyncio.Event()
    script.answer = [script.answer[0], {"type": "http.response.body", "body": b"x"}]
    await client.ask(GET)
    client.protocol.eof_received()
    client.seconds(HALF_CLOSED)
    client.protocol.turn.sent += 1
    client.seconds(HALF_CLOSED)
    assert client.transport.state == "open"


# Time.


async def test_an_idle_connection_is_closed_in_the_end(serve, script):
    client = serve(script, keep_alive=3).connect()
    client.seconds(2)
    await client.ask(GET)
    client.seconds(3)
    assert client.transport.state == "open"
    client.seconds(1)
    assert client.transport.state == "closed"


async def test_a_head_has_its_time_from_its_first_byte(serve, script):
    client = serve(script, head_timeout=3, keep_alive=60).connect()
    client.seconds(20)
    client.send(b"GET /")
    client.seconds(2)
    client.send(b"a")
    client.seconds(1)
    assert client.transport.state == "open"
    client.seconds(1)
    assert status(client.transport.written) == 408


async def test_a_body_that_comes_too_slowly_is_408(serve, script):
    client = serve(script, min_rate=100).connect()
    await client.ask(POST % 10_000)
    for _ in range(20):
        client.send(b"x" * 100)
        client.seconds(1)
    assert client.transport.written == b""
    client.seconds(SLOW_AFTER)
    assert client.transport.written == b""
    client.seconds(1)
    assert status(client.transport.written) == 408
    await client.turn()
    assert script.messages[-1]["type"] == "http.disconnect"
    assert script.messages[-1][PROBLEM].status == 408


async def test_a_body_that_nobody_asks_for_has_all_the_time(serve):
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    client = serve(app, min_rate=100).connect()
    await client.ask(POST % (HIGH_WATER * 2) + b"x" * (HIGH_WATER + 1))
    client.seconds(100)
    assert client.transport.state == "open"


async def test_a_least_rate_of_nothing_is_none(serve, script):
    client = serve(script, min_rate=0).connect()
    await client.ask(POST % 10)
    client.transport.buffered = 7
    client.protocol.pause_writing()
    client.seconds(100)
    assert client.transport.state == "open"


@pytest.mark.parametrize("idle", [True, False])
async def test_a_client_that_takes_too_little_is_cut_off(serve, script, idle):
    client = serve(script, min_rate=100).connect()
    if not idle:
        script.until = asyncio.Event()
    await client.ask(GET)
    if not idle:
        client.protocol.pause_writing()
    client.transport.buffered = 10_000
    for _ in range(20):
        client.seconds(1)
        client.transport.buffered -= 100
    assert client.transport.state == "open"
    client.seconds(SLOW_AFTER + 2)
    assert client.transport.state == "aborted"


async def test_what_it_catches_up_counts_but_not_without_end(serve, script):
    client = serve(script, min_rate=100).connect()
    await client.ask(GET)
    client.transport.buffered = 100_000
    client.seconds(1)
    client.transport.buffered = 50_000
    client.seconds(SLOW_AFTER + 1)
    assert client.transport.state == "open"
    client.seconds(1)
    assert client.transport.state == "aborted"


# The end.


async def test_shutting_down_closes_what_is_idle_and_lets_the_rest_finish(serve, script):
    server = serve(script)
    idle, busy, reading = server.connect(), server.connect(), server.connect()
    script.until = asyncio.Event()
    await busy.ask(GET)
    reading.send(b"GET /")
    for client in (idle, busy, reading):
        client.protocol.shutdown()
    assert [client.transport.state for client in (idle, busy, reading)] == ["closed", "open", "closed"]
    script.until.set()
    await busy.turn()
    assert answers(busy.transport.written) == 1
    assert busy.transport.state == "closed"


async def test_an_answer_given_while_shutting_down_says_that_it_is_the_last(client, script):
    script.reads = False
    client.send(GET)
    client.protocol.shutdown()
    await client.turn()
    assert b"connection: close" in client.transport.written


async def test_there_is_room_for_fewer_connections_than_files(serve, script, caplog):
    """Idle ones make room; where nobody is idle, the new one is told."""
    server = serve(script, most=2)
    first, second = server.connect(), server.connect()
    server.port.look()
    await first.ask(GET)
    third = server.connect()
    assert second.transport.state == "aborted"
    second.leave()
    assert "2 connections are open, which is the limit" in caplog.text
    script.until = asyncio.Event()
    await first.ask(GET)
    await third.ask(GET)
    fourth = server.connect()
    assert status(fourth.transport.written) == 503
    assert first.transport.state == third.transport.state == "open"


def test_three_files_in_four_are_for_clients_and_where_there_are_few_some_for_the_process_itself():
    assert connections_for(1024) == 768
    assert connections_for(64) == 24
    assert connections_for(4) == 8
    assert open_files() > 64


class Taker:
    """A WebSocket protocol class."""

    last = None

    def __init__(self, config, server_state, app_state):
        self.app = config.loaded_app
        self.transport = None
        self.data = b""
        Taker.last = self

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data


WEBSOCKET = b"GET /ws?a=b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"


async def test_a_websocket_is_handed_over_with_what_came_behind(serve, script):
    server = serve(script)
    server.config.ws_protocol_class = Taker
    client = server.connect()
    client.send(WEBSOCKET + b"frame")
    taker = Taker.last
    head, _, rest = taker.data.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"GET /ws?a=b HTTP/1.1",
        b"host: x",
        b"connection: Upgrade",
        b"upgrade: websocket",
        b"sec-websocket-key: k",
    ]
    assert rest == b"frame"
    assert taker.app is script
    assert client.transport.protocol is taker
    assert client.protocol not in server.state.connections


async def test_without_a_class_for_them_a_websocket_is_an_ordinary_request(client, script):
    assert answers(await client.ask(WEBSOCKET)) == 1


async def test_a_websocket_of_uvicorns_is_not_looked_at(serve, script):
    server = serve(script)
    server.connect()
    server.state.connections.add(object())
    server.port.look()
