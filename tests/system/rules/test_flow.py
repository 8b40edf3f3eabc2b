"""Nobody waits for ever, and nothing is gathered: slow clients, slow services, and what lies between them."""

from __future__ import annotations

import hashlib

import pytest
from rig.client import Sending, problem
from rig.message import Ended
from rig.written import HOST, get, post

from micro.spec.gateway import Route

MEGABYTE = 1 << 20
MOST = 64 * MEGABYTE
HELD = 48 * MEGABYTE
"""More than the kernel's buffers of all sockets on the way hold together (Linux lets one grow to 32), and less than `MOST`."""
OWN = 512 << 10
"""Bytes that the gateway itself may hold for one exchange, in each direction."""


def test_a_client_that_does_not_read_holds_the_service_back(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=0)
    client = world.connect(receive_buffer=65_536)
    client.send(get())
    got = world.origin.request()
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MOST)
    piece = bytes(range(256)) * 4096
    sent = got.line.push(piece, world, most=MOST)
    assert sent < HELD
    assert world.held() <= OWN
    rest = piece[sent % len(piece) :] + piece * ((MOST - sent) // len(piece))
    sending = Sending(got, rest[: MOST - sent])
    assert digest(client.body(client.head())) == digest([piece] * (MOST // len(piece)))
    sending.join()
    assert world.again(client, got.line)


def test_a_service_that_does_not_read_holds_the_client_back(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=0, max_body=MOST)
    client = world.connect()
    client.send(post(b"/", b"", length=MOST))
    got = world.origin.request()
    piece = bytes(range(256)) * 4096
    sent = client.push(piece, world, most=MOST)
    assert sent < HELD
    assert world.held() <= OWN
    rest = piece[sent % len(piece) :] + piece * ((MOST - sent) // len(piece))
    sending = Sending(client, rest[: MOST - sent])
    assert digest(got.pieces()) == digest([piece] * (MOST // len(piece)))
    sending.join()
    got.answer(body=b"all of it")
    assert client.answer().body == b"all of it"
    assert world.again(client, got.line)


def digest(pieces):
    made = hashlib.sha256()
    for piece in pieces:
        made.update(piece)
    return made.hexdigest()


def test_a_head_that_takes_too_long_is_408(world):
    client = world.connect()
    client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\nX-A: ")
    world.settle()
    world.advance(8)
    assert client.nothing()
    world.advance(4)
    problem(client.answer(), 408)
    assert client.ends()
    assert world.is_silent()


def test_a_head_that_comes_byte_by_byte_has_no_more_time(world):
    client = world.connect()
    client.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\nX-A: ")
    for _ in range(12):
        client.send_some(b"a")
        world.settle()
        world.advance(1)
    problem(client.answer(), 408)
    assert world.is_silent()


def test_the_time_for_a_head_is_a_setting(world):
    world.serve(head_timeout=2.0)
    client = world.connect()
    client.send(b"GET / HTTP/1.1\r\n")
    world.settle()
    world.advance(4)
    problem(client.answer(), 408)


def test_a_second_request_has_the_time_of_its_own(world):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    world.advance(30)
    assert world.again(client)


def test_an_idle_connection_is_closed_after_a_while(world):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    world.advance(60)
    assert client.nothing()
    world.advance(10)
    assert client.ends()


def test_a_connection_on_which_nothing_ever_came_is_closed_after_a_while(world):
    client = world.connect()
    world.settle()
    world.advance(70)
    assert client.everything_ends()


def test_a_body_that_does_not_come_is_408(world):
    client, got = world.ask(post(b"/", b"he", length=5))
    world.advance(16)
    problem(client.answer(), 408)
    assert got.breaks_off()
    assert world.again(world.connect())


def test_a_body_slower_than_the_least_rate_is_408(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=1000)
    client, got = world.ask(post(b"/", b"he", length=100_000))
    for _ in range(20):
        client.send_some(b"a" * 10)
        world.settle()
        world.advance(1)
    problem(client.answer(), 408)
    assert got.breaks_off()


def test_a_body_above_the_least_rate_is_not_cut_off(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=1000)
    client, got = world.ask(post(b"/", b"", length=40_000))
    for _ in range(20):
        client.send(b"a" * 2000)
        world.settle()
        world.advance(1)
    assert got.body() == b"a" * 40_000
    got.answer()
    assert client.answer().status == 200


def test_a_client_that_takes_its_answer_too_slowly_is_cut_off(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=1000)
    client = world.connect(receive_buffer=65_536)
    client.send(get())
    got = world.origin.request()
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MOST)
    got.line.push(b"a" * MEGABYTE, world, most=MOST)
    for _ in range(20):
        world.advance(1)
    assert got.line.everything_ends()
    with pytest.raises((Ended, ConnectionResetError)):
        list(client.body(client.head()))
    assert world.again(world.connect())


def test_an_answer_that_takes_its_time_is_not_the_client_s_fault(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=1000)
    client, got = world.ask(get())
    got.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    answer = client.head()
    world.advance(30)
    got.send(b"world")
    assert b"".join(client.body(answer)) == b"helloworld"
    assert world.again(client, got.line)


def test_a_service_that_takes_a_body_slowly_is_not_the_client_s_fault(world):
    world.serve(Route(path="/", service="app", timeout=0), min_rate=1000, max_body=MOST)
    client = world.connect()
    client.send(post(b"/", b"", length=MOST))
    got = world.origin.request()
    client.push(b"a" * MEGABYTE, world, most=MOST)
    world.advance(10)
    assert client.nothing(), client.pending()
    got.answer(413, body=b"enough")
    assert client.answer().body == b"enough"


def test_many_connections_are_served_side_by_side(world):
    clients = [world.connect() for _ in range(30)]
    for number, client in enumerate(clients):
        client.send(get(b"/%d" % number))
    gots = sorted((world.origin.request() for _ in clients), key=lambda got: int(got.target[1:]))
    for got in reversed(gots):
        got.answer(body=got.target)
    assert [client.answer().body for client in clients] == [b"/%d" % number for number in range(30)]


@pytest.mark.needs("connections")
def test_a_connection_to_an_instance_is_closed_when_it_was_idle_for_long(world):
    client, got = world.ask(get())
    got.answer()
    client.answer()
    world.advance(29)
    assert world.again(client, got.line)
    world.advance(32)
    assert got.gone()
    assert world.again(client)


@pytest.mark.needs("connections")
def test_one_after_the_other_one_connection_to_an_instance_is_enough(world):
    for _ in range(5):
        client = world.connect()
        assert world.again(client)
        client.close()
    assert len(world.origin.lines) == 1
