"""Reference 2.10: WebSockets, from the handshake to the close, and server-sent events beside them."""

from __future__ import annotations

import pytest
from rig.client import Sending, problem
from rig.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE,
    KEY,
    PING,
    TEXT,
    accept_of,
    close,
    frame,
    read_message,
    said,
)
from rig.message import Ended
from rig.written import get

from micro.spec.gateway import Route


def opened(world, *fields, answer=(), target=b"/ws"):
    """A WebSocket: the client, and the origin's side of it. Both have seen the handshake."""
    client = world.connect()
    client.send(get(target, *HANDSHAKE, *fields))
    got = world.origin.request()
    assert got[b"upgrade"].lower() == b"websocket"
    assert b"upgrade" in got[b"connection"].lower()
    assert got[b"sec-websocket-version"] == b"13"
    accepted = accept_of(got[b"sec-websocket-key"])
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket"]
    lines += [b"Sec-WebSocket-Accept: " + accepted, *answer, b"", b""]
    got.send(b"\r\n".join(lines))
    head = client.head()
    assert head.status == 101, (head.raw, client.pending())
    assert head[b"sec-websocket-accept"] == accept_of(KEY)
    assert head[b"upgrade"].lower() == b"websocket"
    assert b"upgrade" in head[b"connection"].lower()
    return client, got, head


def sees_the_end(client):
    """Whether the client is told, by a close frame that it answers or by the end of the connection."""
    try:
        while read_message(client.source, mask=False)[0] != CLOSE:
            pass
        client.send(close(1000, mask=True))
    except Ended:
        return True
    return client.everything_ends()


def test_the_handshake_goes_through_all_policies_and_keeps_its_fields(world):
    _, got, head = opened(
        world, b"X-A: 1", b"Origin: http://localhost", answer=[b"X-B: 2"], target=b"/ws?a=%2F"
    )
    assert got.target == b"/ws?a=%2F"
    assert got[b"x-a"] == b"1"
    assert got[b"origin"] == b"http://localhost"
    assert got[b"x-forwarded-for"] == b"127.0.0.1"
    assert got[b"via"].startswith(b"1.1 micro-")
    assert head[b"x-b"] == b"2"
    assert head[b"x-request-id"] == got[b"x-request-id"]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_messages_pass_both_ways(world, opcode, size):
    client, got, _ = opened(world)
    data = b"a" * size
    client.send(frame(opcode, data, mask=True))
    assert read_message(got.line.source, mask=True) == (opcode, data)
    got.send(frame(opcode, data))
    assert read_message(client.source, mask=False) == (opcode, data)


def test_a_message_in_parts_arrives_whole(world):
    client, got, _ = opened(world)
    parts = frame(TEXT, b"he", final=False, mask=True) + frame(PING, b"x", mask=True)
    client.send(parts + frame(CONTINUATION, b"llo", mask=True))
    assert read_message(got.line.source, mask=True) == (TEXT, b"hello")


def test_what_comes_with_the_handshake_is_not_lost(world):
    client = world.connect()
    client.send(get(b"/ws", *HANDSHAKE) + frame(TEXT, b"early", mask=True))
    got = world.origin.request()
    accepted = accept_of(got[b"sec-websocket-key"])
    got.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n" + frame(TEXT, b"hello")
    )
    assert client.head().status == 101
    assert read_message(client.source, mask=False) == (TEXT, b"hello")
    assert read_message(got.line.source, mask=True) == (TEXT, b"early")


@pytest.mark.parametrize("chosen", [b"soap", b"chat.v2", None])
def test_subprotocols_are_offered_and_chosen_by_the_service(world, chosen):
    answer = [b"Sec-WebSocket-Protocol: " + chosen] if chosen else []
    client, got, head = opened(world, b"Sec-WebSocket-Protocol: chat.v2, soap", answer=answer)
    assert [each.strip() for each in got[b"sec-websocket-protocol"].split(b",")] == [b"chat.v2", b"soap"]
    assert head.all(b"sec-websocket-protocol") == ([chosen] if chosen else [])
    got.send(frame(TEXT, b"hello"))
    assert read_message(client.source, mask=False) == (TEXT, b"hello")


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, b""), (1001, b"going"), (3000, b"bye \xc3\xa4"), (4999, b"x" * 100)]
)
def test_code_and_reason_of_a_close_pass_to_the_service(world, code, reason):
    client, got, _ = opened(world)
    client.send(close(code, reason, mask=True))
    kind, data = read_message(got.line.source, mask=True)
    assert kind == CLOSE
    assert said(data) == (code, reason)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, b""), (1011, b"no"), (3000, b"bye \xc3\xa4"), (4999, b"x" * 100)]
)
def test_code_and_reason_of_a_close_pass_to_the_client(world, code, reason):
    client, got, _ = opened(world)
    got.send(close(code, reason))
    kind, data = read_message(client.source, mask=False)
    assert kind == CLOSE
    assert said(data) == (code, reason)


def test_when_the_gateway_stops_every_client_is_told_so_by_the_same_code(world):
    client, _, _ = opened(world)
    world.stop()
    kind, data = read_message(client.source, mask=False)
    assert (kind, said(data)[0]) == (CLOSE, 1012), "service restart, as the IANA's registry calls it"
    client.send(close(1012, mask=True))
    assert client.everything_ends()


def test_a_clean_close_ends_both_connections(world):
    client, got, _ = opened(world)
    client.send(close(1000, mask=True))
    assert read_message(got.line.source, mask=True)[0] == CLOSE
    got.send(close(1000))
    assert read_message(client.source, mask=False)[0] == CLOSE
    got.line.close()
    assert client.ends()
    assert world.again(world.connect())


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_is_gone_ends_the_service_s_side(world, leave):
    client, got, _ = opened(world)
    getattr(client, leave)()
    assert got.line.everything_ends()
    assert world.again(world.connect())


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_service_that_is_gone_ends_the_client_s_side(world, leave):
    client, got, _ = opened(world)
    getattr(got.line, leave)()
    assert sees_the_end(client)
    assert world.again(world.connect())


def test_a_message_of_a_client_that_is_too_long_ends_both_sides(world):
    client, got, _ = opened(world)
    client.send(frame(BINARY, b"a" * 1000, mask=True, length=64 << 20))
    kind, data = read_message(client.source, mask=False)
    assert (kind, said(data)[0]) == (CLOSE, 1009)
    assert got.line.everything_ends()


@pytest.mark.needs("bytes of an answer")
def test_a_message_of_an_instance_that_is_too_long_ends_both_sides(world):
    client, got, _ = opened(world)
    got.send(frame(BINARY, b"a" * 1000, length=64 << 20))
    assert sees_the_end(client)
    assert got.line.everything_ends()


def test_a_message_that_grows_too_long_part_by_part_ends_both_sides(world):
    client, got, _ = opened(world)
    client.send(frame(BINARY, b"", final=False, mask=True))
    client.send_some(frame(CONTINUATION, b"a" * 1000, final=False, mask=True, length=10 << 20))
    client.close()
    assert got.line.everything_ends()


def test_the_deadline_of_the_route_is_for_the_handshake(world):
    world.serve(Route(path="/", service="app", timeout=3.0))
    client, got, _ = opened(world)
    world.advance(20)
    client.send(frame(TEXT, b"still here", mask=True))
    assert read_message(got.line.source, mask=True) == (TEXT, b"still here")
    got.send(frame(TEXT, b"so am I"))
    assert read_message(client.source, mask=False) == (TEXT, b"so am I")


def test_a_handshake_that_nobody_answers_is_504(world):
    world.serve(Route(path="/", service="app", timeout=3.0))
    client = world.connect()
    client.send(get(b"/", *HANDSHAKE))
    got = world.origin.request()
    world.advance(3.5)
    problem(client.answer(), 504, "http_response_timeout")
    assert got.gone()


def test_a_handshake_that_the_service_refuses_is_answered_as_it_says(world):
    client = world.connect()
    client.send(get(b"/", *HANDSHAKE))
    world.origin.request().answer(404, b"X-A: 1", body=b"no such room")
    answer = client.answer()
    assert (answer.status, answer[b"x-a"], answer.body) == (404, b"1", b"no such room")


def test_a_handshake_that_the_gateway_refuses_reaches_nobody(world):
    world.serve(Route(path="/", service="app", auth="required"))
    client = world.connect()
    answer = client.ask(get(b"/", *HANDSHAKE))
    problem(answer, 401)
    assert answer[b"www-authenticate"].startswith(b"Bearer")
    assert world.is_silent()


@pytest.mark.parametrize(
    "fields",
    [
        HANDSHAKE[:2],
        (*HANDSHAKE[:2], HANDSHAKE[2]),
        (*HANDSHAKE[:2], HANDSHAKE[3], b"Sec-WebSocket-Version: 7"),
        (*HANDSHAKE[:3], b"Sec-WebSocket-Key: short"),
    ],
)
def test_a_malformed_handshake_opens_nothing(world, fields):
    """Who decides is the service, or the server in its place."""
    client = world.connect()
    client.send(get(b"/", *fields))
    world.settle()
    if client.nothing():
        world.origin.request().answer(400)
    answer = client.answer()
    assert answer.status in {400, 426}


@pytest.mark.needs("instances")
def test_an_instance_that_switches_to_something_else_is_502(world):
    client = world.connect()
    client.send(get(b"/", *HANDSHAKE))
    got = world.origin.request()
    got.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    problem(client.answer(), 502, "http_upgrade_failed")
    assert got.gone()


@pytest.mark.needs("instances")
def test_an_instance_without_the_right_proof_opens_nothing_unseen(world):
    """On the short path the client checks it, as everything in the tunnel."""
    client = world.connect()
    client.send(get(b"/", *HANDSHAKE))
    got = world.origin.request()
    got.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: wrong\r\n\r\n"
    )
    head = client.head()
    assert head.status == 502 or head.all(b"sec-websocket-accept") == [b"wrong"]


def test_a_websocket_is_recorded_once_with_its_status(world):
    client, got, _ = opened(world)
    client.send(close(1000, mask=True))
    read_message(got.line.source, mask=True)
    got.send(close(1000))
    got.line.close()
    client.everything_ends()
    world.until(lambda: world.log)
    assert [record.status for record in world.log] == [101]


def test_a_slow_reader_holds_the_other_side_back(world):
    """What the origin can send is what the buffers on the way hold, not more."""
    world.serve(min_rate=0)
    client, got, _ = opened(world)
    piece = frame(BINARY, b"a" * 65_536)
    most = 64 << 20
    sent = got.line.push(piece, world, most=most)
    assert sent < most * 3 // 4
    whole = -(-sent // len(piece))
    sending = Sending(got, piece[sent % len(piece) :] if sent % len(piece) else b"")
    for _ in range(whole):
        assert read_message(client.source, mask=False) == (BINARY, b"a" * 65_536)
    sending.join()
