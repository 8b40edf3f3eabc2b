"""A request to an instance and its answer: the plain cases."""

from __future__ import annotations

import asyncio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"


def fields_of(request: bytes) -> dict[bytes, bytes]:
    head, _, _ = request.partition(b"\r\n\r\n")
    return dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])


async def test_a_get_is_sent_and_its_answer_comes_back(bench, origin):
    there = bench()
    client = there.start(path=b"/items/%2F1")
    client.exchange.query = b"a=1&b=%20"
    _, request = await origin.answer(OK)
    await client.done()
    assert request.startswith(b"GET /items/%2F1?a=1&b=%20 HTTP/1.1\r\n")
    assert client.heads == [(200, {b"content-length": b"5", b"content-type": b"text/plain"}, 5)]
    assert client.body == b"hello"
    assert client.ended
    assert client.exchange.instance == origin.name
    assert client.exchange.tries == 1
    assert there.in_flight == 0


async def test_the_instance_gets_what_the_gateway_adds_and_its_own_host(bench, origin):
    client = bench().start(headers=[(b"accept", b"*/*"), (b"connection", b"keep-alive")])
    _, request = await origin.answer()
    await client.done()
    assert fields_of(request) == {
        b"host": origin.name.encode(),
        b"accept": b"*/*",
        b"x-request-id": b"r-1",
        b"x-correlation-id": b"r-1",
        b"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00",
        b"via": b"1.1 micro-test",
        b"x-forwarded-for": b"203.0.113.7",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"shop.example",
        b"x-request-timeout-ms": b"15000",
    }


async def test_the_client_s_host_goes_on_where_the_upstream_says_so(bench, origin):
    client = bench(pass_host=True).start()
    _, request = await origin.answer()
    await client.done()
    assert fields_of(request)[b"host"] == b"shop.example"


async def test_a_url_s_path_stands_before_every_target(bench, origin):
    client = bench(f"{origin.url}/base/").start(path=b"/items")
    _, request = await origin.answer()
    await client.done()
    assert request.startswith(b"GET /base/items HTTP/1.1\r\n")


async def test_a_second_request_goes_over_the_same_connection(bench, origin):
    there = bench()
    first = there.start()
    peer, _ = await origin.answer()
    await first.done()
    second = there.start(path=b"/items/2")
    assert (await peer.request()).startswith(b"GET /items/2 ")
    await peer.send(OK)
    await second.done()
    assert second.body == b"hello"
    assert len(origin.peers) == 1


async def test_two_requests_at_one_time_go_over_two_connections(bench, origin):
    there = bench()
    clients = [there.start(), there.start()]
    await asyncio.gather(origin.answer(), origin.answer())
    for client in clients:
        await client.done()
    assert there.idle == 2


async def test_a_body_with_a_length_goes_on_with_that_length(bench, origin):
    client = bench().start("POST", headers=[(b"content-length", b"6")], body=True)
    client.leg.feed(b"abc")
    client.leg.feed(b"def")
    client.leg.end()
    _, request = await origin.answer()
    await client.done()
    assert request.endswith(b"\r\n\r\nabcdef")
    assert b"transfer-encoding" not in request


async def test_a_body_without_a_length_goes_on_chunked(bench, origin):
    there = bench()
    client = there.start("POST", headers=[(b"transfer-encoding", b"chunked")], body=True)
    peer = await origin.peer()
    client.leg.feed(b"abc")
    client.leg.feed(b"d" * 17)
    client.leg.end()
    request = await peer.request()
    assert request.endswith(b"\r\n\r\n3\r\nabc\r\n11\r\n" + b"d" * 17 + b"\r\n0\r\n\r\n")
    assert b"content-length" not in request
    await peer.send(OK)
    await client.done()
    assert there.idle == 1


async def test_nothing_is_kept_of_what_was_done_for_a_request(bench, origin):
    there = bench()
    client = there.start()
    await origin.answer(OK)
    await client.done()
    assert not there.upstream._tasks
