"""Which connections are kept, for how long, and which request goes over which (gateway.md S10, S12)."""

from __future__ import annotations

import asyncio

import pytest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def kept(there, origin, answer=OK, **request):
    """One exchange; its connection, as the instance sees it."""
    client = there.start(**request)
    peer, _ = await origin.answer(answer)
    await client.done()
    return peer


async def test_the_connection_used_last_is_used_first(bench, origin):
    there = bench()
    clients = {path: there.start(path=path) for path in (b"/first", b"/second")}
    peers = {}
    for _ in clients:
        peer = await origin.peer()  # in any order: each of them was opened by a task of its own
        peers[(await peer.request()).split(b" ")[1]] = peer
    for path, client in clients.items():
        await peers[path].send(OK)
        await client.done()
    there.start(path=b"/third")
    assert (await peers[b"/second"].request()).startswith(b"GET /third ")


async def test_an_answer_with_the_head_of_the_one_before_is_recognized_on_its_connection(bench, origin):
    there = bench()
    clients, peer = [], None
    for body in (b"first", b"other", b"third"):
        clients.append(there.start())
        peer = peer or await origin.peer()
        await peer.request()
        await peer.send(OK.replace(b"hello", body))
        await clients[-1].done()
    known = [client.exchange.known_answer for client in clients]
    assert known[0] is None
    assert known[1] is known[2] is not None
    assert [(client.status, client.body) for client in clients] == [
        (200, b"first"),
        (200, b"other"),
        (200, b"third"),
    ]
    assert (there.idle, there.in_flight) == (1, 0)


async def test_an_answer_that_is_recognized_is_none_where_nobody_asked(bench, origin, settle):
    there = bench()
    peer = await kept(there, origin)
    await peer.send(OK)
    await peer.end()
    await settle(lambda: there.idle == 0)


async def test_an_answer_to_head_is_not_recognized_by_one_that_had_a_body(bench, origin):
    there = bench()
    peer = await kept(there, origin)
    client = there.start("HEAD")
    await peer.request()
    await peer.send(OK)
    await client.done()
    assert (client.exchange.known_answer, client.body) == (None, b"")
    assert await peer.end() == b"", "nobody knows what follows"


async def test_an_idle_connection_is_closed_after_its_time(bench, origin, settle):
    there = bench(keep_alive=30.0)
    peer = await kept(there, origin)
    await there.clock.advance(29.9)
    assert there.idle == 1
    await there.clock.advance(0.3)
    assert await peer.end() == b""
    await settle(lambda: there.idle == 0)


async def test_every_use_gives_a_connection_its_whole_time_again(bench, origin):
    there = bench(keep_alive=30.0)
    peer = await kept(there, origin)
    await there.clock.advance(20)
    again = there.start()
    await peer.request()
    await peer.send(OK)
    await again.done()
    await there.clock.advance(29.8)
    assert there.idle == 1


async def test_an_idle_connection_that_the_instance_closes_is_forgotten(bench, origin, settle):
    there = bench()
    (await kept(there, origin)).close()
    await settle(lambda: there.idle == 0)
    await kept(there, origin)
    assert len(origin.peers) == 2


async def test_an_idle_connection_on_which_the_instance_speaks_is_closed(bench, origin, settle):
    there = bench()
    peer = await kept(there, origin)
    await peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    await peer.end()
    assert there.idle == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi\r\n",
    ],
)
async def test_a_connection_after_which_nothing_may_follow_is_closed(bench, origin, answer):
    there = bench()
    client = there.start()
    peer, _ = await origin.answer(answer)
    await client.done()
    assert client.body == b"hi"
    assert await peer.end() == b""
    assert there.idle == 0


async def test_a_connection_of_http_1_0_is_kept_where_the_instance_says_so(bench, origin):
    there = bench()
    await kept(there, origin, b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nhi")
    assert there.idle == 1


async def test_s12_a_request_that_must_not_be_repeated_goes_over_no_connection_that_was_idle_for_long(
    bench, origin
):
    there = bench()
    old = await kept(there, origin)
    await there.clock.advance(1.5)
    client = there.start("POST", headers=[(b"content-length", b"0")])
    fresh, request = await origin.answer()
    await client.done()
    assert request.startswith(b"POST ")
    assert fresh is not old
    assert await old.end() == b""


async def test_s12_a_request_that_may_be_repeated_goes_over_an_old_connection(bench, origin):
    there = bench()
    old = await kept(there, origin)
    await there.clock.advance(1.5)
    there.start("PUT", headers=[(b"content-length", b"0")])
    assert (await old.request()).startswith(b"PUT ")


async def test_s10_an_answer_before_the_whole_request_ends_the_connection(bench, origin):
    there = bench()
    client = there.start("POST", headers=[(b"content-length", b"100")], body=True)
    client.leg.feed(b"abc")
    peer = await origin.peer()
    await peer.until(b"abc")
    await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
    await client.done()
    assert (client.status, client.body) == (413, b"no")
    assert await peer.end() == b""
    assert (there.idle, there.in_flight) == (0, 0)
    client.leg.feed(b"more")
    client.leg.end()


async def test_s10_no_more_is_sent_to_an_instance_that_has_refused(bench, origin):
    there = bench()
    client = there.start("POST", headers=[(b"content-length", b"100")], body=True)
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nn")
    await client.until(lambda: client.heads)
    client.leg.feed(b"more")
    client.leg.end()
    await peer.send(b"o")
    await client.done()
    assert await peer.end() == b""


async def test_both_bodies_flow_at_one_time_where_the_instance_wants_it(bench, origin):
    there = bench()
    client = there.start("POST", headers=[(b"content-length", b"6")], body=True)
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
    client.leg.feed(b"abc")
    await peer.send(await peer.exactly(3))
    await client.until(lambda: client.body == b"abc")
    client.leg.feed(b"def")
    client.leg.end()
    await peer.send(await peer.exactly(3))
    await client.done()
    assert client.body == b"abcdef"


async def test_an_instance_that_leaves_the_cluster_loses_its_connections(bench, origin, settle):
    there = bench()
    peer = await kept(there, origin)
    there.cluster.update(["http://127.0.0.1:1"])
    assert await peer.end() == b""


async def test_close_ends_everything_that_is_open(bench, origin):
    there = bench()
    await kept(there, origin)
    waiting, connecting = there.start(), there.start()
    await origin.peers[0].request()
    await there.upstream.close()
    assert await waiting.kind() == "connection_terminated"
    for peer in origin.peers:
        assert await peer.end() == b""
    await there.upstream.close()
    connecting.leg.cancel()
    assert there.in_flight == 0


async def test_more_requests_than_the_cluster_takes_wait_for_their_turn(bench, origin):
    there = bench(max_requests=1)
    first, second, third = there.start(), there.start(path=b"/2"), there.start(path=b"/3")
    peer = await origin.peer()
    await peer.request()
    second.leg.cancel()
    await peer.send(OK)
    assert (await peer.request()).startswith(b"GET /3 ")
    await peer.send(OK)
    await third.done()
    assert first.ended
    assert not second.over
    assert there.in_flight == 0


async def test_who_waits_too_long_is_refused(bench, origin):
    there = bench(max_requests=1, queue_timeout=1.0)
    first, second = there.start(), there.start()
    await there.clock.advance(1.3)
    assert await second.kind() == "connection_limit_reached"
    second.leg.cancel()
    first.leg.cancel()
    assert there.in_flight == 0


async def test_one_more_than_may_wait_is_refused_at_once(bench, origin):
    there = bench(max_requests=1, queue=0)
    first, second = there.start(), there.start()
    assert second.error.kind == "connection_limit_reached"
    first.leg.cancel()
    assert there.in_flight == 0


async def test_a_connection_is_kept_where_the_client_was_full_at_the_end_of_the_answer(bench, origin):
    there = bench()
    client = there.start()
    plain = client.feed

    def full(data):
        plain(data)
        client.leg.pause()

    client.feed = full
    peer, _ = await origin.answer(OK[:-1])
    await client.until(lambda: client.body)
    client.leg.resume()
    await peer.send(OK[-1:])
    await client.done()
    client.leg.resume()
    again = there.start()
    await peer.request()
    await peer.send(OK)
    await again.done()
    assert (len(origin.peers), again.body) == (1, b"hello")


async def test_many_requests_leave_nothing_behind(bench, origin):
    there = bench()

    async def serve():
        peer = await origin.peer()
        while True:
            await peer.request()
            await peer.send(OK)

    servers = [asyncio.create_task(serve()) for _ in range(4)]
    for _ in range(50):
        clients = [there.start() for _ in range(4)]
        for client in clients:
            await client.done()
            assert client.body == b"hello"
    assert (len(origin.peers), there.idle, there.in_flight) == (4, 4, 0)
    for server in servers:
        server.cancel()
    await asyncio.gather(*servers, return_exceptions=True)


async def test_an_idle_connection_that_is_just_closing_is_passed_over(bench, origin):
    there = bench()
    await kept(there, origin)
    there.instance.pool.idle[0].transport.abort()
    await kept(there, origin)
    assert len(origin.peers) == 2
