"""A request that is sent at once over an idle connection: nobody looks after it but the connection, until there is more
to it than one answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from micro.gateway.known import KnownHeader
from micro.gateway.upstream.connection import Connection
from micro.gateway.upstream.leg import NetworkLeg
from micro.spec.upstream import RetrySpec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
OTHER = b"HTTP/1.1 200 OK\r\nx-other: 1\r\ncontent-length: 5\r\n\r\nother"
TWICE = RetrySpec(attempts=2, base=0.0, cap=0.0)
POST = {"method": "POST", "headers": [(b"content-length", b"3")], "body": True}


class Repeater:
    """A client that sends the same header again and again, and the instance's end of the connection that it goes over."""

    def __init__(self, there, peer) -> None:
        self.there = there
        self.peer = peer
        self.known = KnownHeader([(b"host", b"shop.example")])
        self.pipeline = None

    def ask(self, **more):
        """A request without a body."""
        client = self.there.prepared(**more)
        exchange = client.exchange
        exchange.known, exchange.found, exchange.headers = self.known, self.known.found, self.known.kept
        exchange.pipeline = self.pipeline = self.pipeline or exchange.pipeline
        self.there.upstream.start(exchange, client, body=False)
        return client

    async def answered(self, client, answer=OK):
        """It, once the instance has given that answer."""
        await self.peer.request()
        await self.peer.send(answer)
        return await client.done()


@pytest.fixture
def repeater(bench, origin):
    """One that has had its first answer: a function that takes the settings of the upstream."""

    async def make(**settings):
        there = bench(**settings)
        one = Repeater(there, None)
        first = one.ask()
        one.peer = await origin.peer()
        await one.answered(first)
        return one

    return make


async def test_the_connection_is_the_leg_until_the_answer_is_there(repeater):
    one = await repeater()
    client = one.ask(path=b"/items/2")
    assert isinstance(client.leg, Connection)
    assert one.there.in_flight == 2, "the instance's and the slot's"
    await one.answered(client)
    assert (client.status, client.body, client.exchange.tries) == (200, b"hello", 1)
    assert client.exchange.known_answer is not None
    assert client.leg is None
    assert (one.there.idle, one.there.in_flight) == (1, 0)
    assert one.peer.read.count(b"GET /items/2 HTTP/1.1\r\n") == 1


@pytest.mark.parametrize("answer", [OTHER, OK.replace(b"5", b"2").replace(b"hello", b"hi")])
async def test_so_it_is_where_the_answer_has_another_head(repeater, answer):
    one = await repeater()
    client = await one.answered(one.ask(), answer)
    assert client.body == answer.partition(b"\r\n\r\n")[2]
    assert (client.exchange.known_answer, client.leg) == (None, None)
    assert (one.there.idle, one.there.in_flight) == (1, 0)


async def test_an_answer_after_which_nothing_follows_ends_the_connection(repeater):
    one = await repeater()
    client = await one.answered(one.ask(), OTHER.replace(b"x-other: 1", b"connection: close"))
    assert client.body == b"other"
    assert await one.peer.end() == b""
    assert (one.there.idle, one.there.in_flight) == (0, 0)


async def test_an_answer_to_head_has_no_body(repeater):
    one = await repeater()
    client = await one.answered(one.ask(method="HEAD"), b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert (client.heads[0][2], client.body) == (0, b"")
    assert (await one.answered(one.ask())).body == b"hello"


async def test_an_answer_in_pieces_gets_a_leg(repeater):
    one = await repeater()
    client = one.ask()
    await one.peer.request()
    await one.peer.send(OK[:-3])
    await client.until(lambda: client.body)
    assert isinstance(client.leg, NetworkLeg)
    client.leg.pause()
    client.leg.resume()
    await one.peer.send(OK[-3:])
    await client.done()
    assert client.body == b"hello"
    assert (one.there.idle, one.there.in_flight) == (1, 0)
    assert (await one.answered(one.ask())).body == b"hello"


async def test_interim_answers_come_before(repeater):
    one = await repeater()
    client = one.ask()
    await one.answered(client, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK)
    assert [head[0] for head in client.heads] == [103, 200]
    assert client.body == b"hello"
    assert one.there.in_flight == 0


async def test_a_client_that_leaves_ends_the_connection(repeater):
    one = await repeater()
    client = one.ask()
    await one.peer.request()
    client.leg.cancel()
    assert await one.peer.end() == b""
    assert (one.there.idle, one.there.in_flight) == (0, 0)
    assert client.calls == []


async def test_what_it_is_told_besides_does_not_matter(repeater):
    one = await repeater()
    client = one.ask()
    client.leg.feed(b"x")
    client.leg.end()
    client.leg.close()
    assert (await one.answered(client)).body == b"hello"
    assert one.peer.read.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"HTTP/2.0 200 OK\r\n\r\n", "http_protocol_error"), (b"", "connection_terminated")],
)
async def test_no_answer_is_told_of(repeater, answer, kind):
    one = await repeater()
    client = one.ask()
    await one.peer.request()
    await one.peer.send(answer)
    one.peer.close()
    assert await client.kind() == kind
    assert (one.there.idle, one.there.in_flight) == (0, 0)


async def test_an_instance_that_is_silent_for_too_long_is_given_up(repeater):
    one = await repeater(first_byte_timeout=5.0)
    client = one.ask()
    await one.peer.request()
    await one.there.clock.advance(4.8)
    assert not client.over
    await one.there.clock.advance(0.5)
    assert await client.kind() == "connection_read_timeout"
    assert await one.peer.end() == b""
    assert one.there.in_flight == 0


async def test_it_is_sent_again_where_that_may_be(repeater, origin):
    one = await repeater(retry=TWICE)
    client = one.ask()
    await one.peer.request()
    one.peer.close()
    one.peer = await origin.peer()
    await one.answered(client)
    assert (client.body, client.exchange.tries) == (b"hello", 2)
    assert isinstance(client.leg, NetworkLeg)
    assert (one.there.idle, one.there.in_flight) == (1, 0)


async def test_so_it_is_after_an_answer_that_counts_as_none(repeater, origin):
    one = await repeater(retry=replace(TWICE, statuses=(503,)))
    client = one.ask()
    await one.peer.request()
    await one.peer.send(OTHER.replace(b"200 OK", b"503 No"))
    one.peer = await origin.peer()
    assert (await one.answered(client)).status == 200


@pytest.mark.parametrize("first", [{"method": "POST"}, POST])
async def test_that_answer_is_not_known_by_its_head(repeater, origin, first):
    one = await repeater(retry=replace(TWICE, statuses=(429,)))
    busy = OTHER.replace(b"200 OK", b"429 No")
    client = one.there.start(**first)
    if "body" in first:
        client.leg.feed(b"abc")
        client.leg.end()
    assert (await one.answered(client, busy)).status == 429, "a POST isn't sent again"
    again = one.ask()
    await one.peer.request()
    await one.peer.send(busy)
    one.peer = await origin.peer()
    assert (await one.answered(again)).status == 200


async def test_a_client_that_takes_no_more_does_not_hold_the_connection_up(repeater):
    one = await repeater()
    client = one.ask()
    client.leg.pause()
    client.leg.resume()
    await one.answered(client)
    assert client.body == b"hello"
    assert (await one.answered(one.ask())).body == b"hello"
    assert one.there.idle == 1


async def test_an_instance_that_takes_nothing_makes_the_client_wait(repeater):
    one = await repeater(write_timeout=5.0)
    client = one.ask()
    connection = client.leg
    connection.pause_writing()
    assert (client.paused, type(client.leg)) == (True, NetworkLeg)
    connection.resume_writing()
    assert not client.paused
    assert (await one.answered(client)).body == b"hello"


async def test_what_is_under_way_fails_with_the_upstream(repeater):
    one = await repeater()
    client = one.ask()
    await one.peer.request()
    await one.there.upstream.close()
    assert await client.kind() == "connection_terminated"
    assert one.there.in_flight == 0


async def test_the_next_one_may_have_the_connection_before_the_answer_is_told(repeater):
    one = await repeater(max_requests=1)
    first, second = one.ask(path=b"/first"), one.ask(path=b"/second")
    told = []
    plain = first.head

    def head(*answer, **more):
        told.append((first.leg, one.there.in_flight))
        plain(*answer, **more)

    first.head = head
    await one.answered(first)
    assert told == [(None, 2)], "the second has its place, and the first can't end it"
    await one.answered(second)
    assert (first.body, second.body) == (b"hello", b"hello")
    assert one.peer.read.count(b"HTTP/1.1\r\n") == 3


async def test_a_leg_whose_body_has_ended_leaves_the_connection_too(repeater):
    one = await repeater()
    client = one.there.start(**POST)
    client.leg.feed(b"abc")
    client.leg.end()
    leg = client.leg
    await one.answered(client)
    assert client.body == b"hello"
    assert client.exchange.known_answer is not None
    leg.cancel()
    leg.pause()
    assert (one.there.idle, one.there.in_flight) == (1, 0)
    assert (await one.answered(one.ask())).body == b"hello"


async def test_one_whose_body_has_not_does_not(repeater):
    one = await repeater()
    client = one.there.start(**POST)
    await one.peer.until(b"\r\n\r\n")
    await one.peer.send(OK)
    await client.done()
    assert client.exchange.known_answer is None
    assert await one.peer.end() == b""
    assert (one.there.idle, one.there.in_flight) == (0, 0)
