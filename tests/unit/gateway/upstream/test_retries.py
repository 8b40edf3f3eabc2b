"""When a request is sent again, and where to (gateway.md B3; RFC 9110 section 9.2.2)."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.upstream.upload import KEPT
from micro.spec.upstream import RetrySpec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
TWICE = RetrySpec(attempts=2, base=0.0, cap=0.0)


async def failing(origin) -> bytes:
    """An instance that takes a request and leaves without an answer."""
    peer = await origin.peer()
    request = await peer.request()
    peer.close()
    return request


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_an_idempotent_request_is_sent_again(bench, origin, method):
    there = bench(retry=TWICE)
    client = there.start(method)
    first = await failing(origin)
    _, second = await origin.answer(OK if method != "HEAD" else OK[:-5])
    await client.done()
    assert client.ended
    assert first == second
    assert (client.exchange.tries, there.in_flight, client.heads[0][0]) == (2, 0, 200)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_b3_another_request_is_not_sent_again_once_it_may_have_arrived(bench, origin, method):
    client = bench(retry=TWICE).start(method)
    await failing(origin)
    assert await client.kind() == "connection_terminated"
    assert client.exchange.tries == 1


async def test_b3_any_request_is_sent_again_where_nothing_of_it_was_sent(bench, origin, other):
    await other.close()
    there = bench(other.url, origin.url, retry=TWICE)
    for _ in range(2):
        client = there.start("POST", headers=[(b"content-length", b"2")], body=True)
        client.leg.feed(b"hi")
        client.leg.end()
        _, request = await origin.answer(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        assert request.endswith(b"\r\n\r\nhi")
        await client.done()
        assert client.ended
    assert other.peers == []


async def test_the_second_try_goes_to_another_instance(bench, origin, other):
    there = bench(origin.url, other.url, retry=TWICE)
    client = there.start()
    first, second = asyncio.create_task(origin.peer()), asyncio.create_task(other.peer())
    done, _ = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    (chosen,) = done
    peer = chosen.result()
    await peer.request()
    peer.close()
    answering = await (second if chosen is first else first)
    await answering.request()
    await answering.send(OK)
    await client.done()
    assert client.ended
    assert client.exchange.instance == (other if chosen is first else origin).name


async def test_a_body_that_is_at_hand_is_sent_again(bench, origin):
    there = bench(retry=TWICE)
    client = there.start("PUT", headers=[(b"transfer-encoding", b"chunked")], body=True)
    client.leg.feed(b"abc")
    peer = await origin.peer()
    await peer.until(b"abc\r\n")
    peer.reset()
    peer = await origin.peer()
    await peer.until(b"3\r\nabc\r\n")
    client.leg.feed(b"de")
    client.leg.end()
    await peer.until(b"2\r\nde\r\n0\r\n\r\n")
    await peer.send(OK)
    await client.done()
    assert client.ended


async def test_a_body_that_is_too_large_to_keep_is_not_sent_again(bench, origin):
    client = bench(retry=TWICE).start("PUT", headers=[(b"content-length", b"%d" % (KEPT + 1))], body=True)
    peer = await origin.peer()
    client.leg.feed(b"a" * (KEPT + 1))
    client.leg.end()
    await peer.request()
    peer.close()
    assert await client.kind() == "connection_terminated"


async def test_nothing_is_sent_again_once_the_answer_has_begun(bench, origin):
    client = bench(retry=TWICE).start()
    await origin.answer(OK[:-1])
    await client.until(lambda: client.heads)
    origin.peers[0].close()
    assert await client.kind() == "http_response_incomplete"
    assert client.exchange.tries == 1


async def test_interim_answers_don_t_keep_a_request_from_being_sent_again(bench, origin):
    client = bench(retry=TWICE).start()
    peer, _ = await origin.answer(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
    await client.until(lambda: client.heads)
    peer.close()
    await origin.answer(OK)
    await client.done()
    assert [status for status, _, _ in client.heads] == [103, 200]


async def test_there_are_as_many_tries_as_the_settings_say(bench, origin):
    there = bench(retry=RetrySpec(attempts=3, base=0.0, cap=0.0))
    client = there.start()
    for _ in range(3):
        await failing(origin)
    assert await client.kind() == "connection_terminated"
    assert (client.exchange.tries, there.instance.failures, there.in_flight) == (3, 3, 0)


async def test_a_status_that_counts_as_a_failed_try_is_tried_again(bench, origin):
    there = bench(retry=RetrySpec(attempts=2, base=0.0, cap=0.0, statuses=(503,)))
    client = there.start()
    peer, _ = await origin.answer(BUSY)
    await peer.end()
    await origin.answer(OK)
    await client.done()
    assert [status for status, _, _ in client.heads] == [200]


async def test_the_last_try_s_status_goes_back(bench, origin):
    client = bench(retry=RetrySpec(attempts=2, base=0.0, cap=0.0, statuses=(503,))).start()
    for _ in range(2):
        await origin.answer(BUSY)
    await client.done()
    assert (client.status, client.ended) == (503, True)


async def test_a_further_try_waits(bench, origin, settle):
    there = bench(retry=RetrySpec(attempts=2, base=10.0, cap=10.0))
    client = there.start()
    await failing(origin)
    await settle(lambda: there.clock.sleeping)
    assert len(origin.peers) == 1
    await there.clock.advance(10)
    await origin.answer(OK)
    await client.done()
    assert client.ended


async def test_a_client_that_leaves_in_between_stops_the_tries(bench, origin, settle):
    there = bench(retry=RetrySpec(attempts=2, base=10.0, cap=10.0))
    client = there.start()
    await failing(origin)
    await settle(lambda: there.clock.sleeping)
    client.leg.cancel()
    await there.clock.advance(20)
    assert (there.in_flight, client.calls, len(origin.peers)) == (0, [], 1)


async def test_nothing_is_sent_again_when_the_gateway_stops(bench, origin):
    there = bench(retry=TWICE)
    client = there.start()
    await (await origin.peer()).request()
    await there.upstream.close()
    assert await client.kind() == "connection_terminated"
    assert (client.exchange.tries, len(origin.peers), there.in_flight) == (1, 1, 0)


async def test_a_stale_connection_is_no_fault_of_the_instance(bench, origin):
    there = bench(retry=TWICE)
    first = there.start()
    peer, _ = await origin.answer(OK)
    await first.done()
    second = there.start()
    await peer.request()
    peer.reset()
    await origin.answer(OK)
    await second.done()
    assert (second.ended, there.instance.failures, len(origin.peers)) == (True, 0, 2)


async def test_the_budget_bounds_the_tries_of_an_outage(bench, origin):
    there = bench(retry=RetrySpec(attempts=2, base=0.0, cap=0.0, budget=0))
    tries = 0
    for _ in range(6):
        client = there.start()
        peers = asyncio.create_task(_refuse_all(origin))
        await client.done()
        peers.cancel()
        tries += client.exchange.tries
    assert tries == 6 + 3


async def _refuse_all(origin) -> None:
    while True:
        await failing(origin)
