"""Bodies flow piece by piece, and who sends waits for who receives (gateway.md B1, B2, B4)."""

from __future__ import annotations

import asyncio

import pytest

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def test_b4_every_piece_passes_at_once(bench, origin):
    client = bench().start()
    peer, _ = await origin.answer(HEAD)
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
        await client.until(lambda event=event: client.body.endswith(event))
    await peer.send(b"0\r\n\r\n")
    await client.done()
    assert client.calls == ["head", "feed", "feed", "end"]


async def test_what_comes_together_goes_on_together(bench, origin):
    client = bench().start()
    await origin.answer(HEAD + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")
    await client.done()
    assert (client.calls, client.body) == (["head", "feed", "end"], b"abc")


async def test_trailer_fields_are_dropped(bench, origin):
    there = bench()
    client = there.start()
    await origin.answer(HEAD + b"1\r\na\r\n0\r\nx-admin: yes\r\n\r\n")
    await client.done()
    assert client.heads == [(200, {}, None)]
    assert client.fields == []
    assert there.idle == 1


async def test_an_instance_waits_for_a_client_that_is_full(bench, origin, settle):
    client = bench().start()
    peer, _ = await origin.answer(HEAD)
    await client.until(lambda: client.heads)
    client.leg.pause()
    client.leg.pause()
    piece = b"%x\r\n%b\r\n" % (100_000, b"a" * 100_000)
    sent = 0
    while peer.writer.transport.get_write_buffer_size() < 1_000_000:
        peer.writer.write(piece)
        sent += 1
        assert sent < 1000, "the gateway has read all of it"
    taken = len(client.body)
    client.leg.resume()
    client.leg.resume()
    await peer.send(b"0\r\n\r\n")
    await client.done()
    assert taken < 300_000
    assert len(client.body) == sent * 100_000


async def test_a_paused_answer_has_no_deadline(bench, origin):
    there = bench(read_timeout=1.0)
    client = there.start()
    peer, _ = await origin.answer(HEAD)
    await client.until(lambda: client.heads)
    client.leg.pause()
    await there.clock.advance(10)
    client.leg.resume()
    await there.clock.advance(0.5)
    await peer.send(b"0\r\n\r\n")
    await client.done()
    assert client.ended


async def test_a_client_waits_for_an_instance_that_is_full(bench, origin):
    client = bench().start("POST", headers=[(b"content-length", b"10000000")], body=True)
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    sent = 0
    while not client.paused:
        client.leg.feed(b"a" * 100_000)
        sent += 100_000
        assert sent < 10_000_000, "everything was taken"
    await peer.exactly(sent)
    await client.until(lambda: not client.paused)
    client.leg.feed(b"a" * (10_000_000 - sent))
    client.leg.end()
    await peer.exactly(10_000_000 - sent)
    await peer.send(OK)
    await client.done()
    assert client.ended


async def test_a_client_waits_until_there_is_a_connection(bench, origin):
    client = bench().start("POST", headers=[(b"content-length", b"200000")], body=True)
    client.leg.feed(b"a" * 50_000)
    assert not client.paused
    client.leg.feed(b"b" * 50_000)
    assert client.paused
    peer = await origin.peer()
    await client.until(lambda: not client.paused)
    client.leg.feed(b"c" * 100_000)
    client.leg.end()
    request = await peer.request()
    assert request.endswith(b"a" * 50_000 + b"b" * 50_000 + b"c" * 100_000)


async def test_b1_answers_without_a_body_end_with_their_head(bench, origin):
    there = bench()
    for method, answer, fields in [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", {b"content-length": b"99"}),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", {}),
        ("GET", b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n', {b"etag": b'"a"'}),
    ]:
        client = there.start(method)
        peer = origin.peers[0] if origin.peers else await origin.peer()
        await peer.request()
        await peer.send(answer)
        await client.done()
        assert (client.calls, client.heads[0][1:]) == (["head", "end"], (fields, 0))
    assert len(origin.peers) == 1


async def test_b2_the_instance_decides_whether_the_body_is_wanted(bench, origin):
    there = bench()
    headers = [(b"content-length", b"3"), (b"expect", b"100-continue")]
    client = there.start("POST", headers=headers, body=True)
    peer = await origin.peer()
    assert b"\r\nexpect: 100-continue\r\n" in await peer.until(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await client.until(lambda: client.heads)
    assert client.heads == [(100, {}, 0)]
    client.leg.feed(b"abc")
    client.leg.end()
    assert await peer.exactly(3) == b"abc"
    await peer.send(OK)
    await client.done()
    assert (client.status, there.idle) == (200, 1)


async def test_b2_http_1_0_knows_neither_expect_nor_interim_answers(bench, origin):
    headers = [(b"content-length", b"3"), (b"expect", b"100-continue")]
    client = bench().start("POST", headers=headers, body=True, version="1.0")
    client.leg.feed(b"abc")
    client.leg.end()
    _, request = await origin.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    await client.done()
    assert b"expect" not in request
    assert [status for status, _, _ in client.heads] == [200]


@pytest.mark.parametrize("cancel_at", ["head", "feed"])
async def test_a_client_may_leave_from_within_a_call(bench, origin, cancel_at):
    there = bench()
    client = there.start()
    plain = getattr(client, cancel_at)

    def leaving(*arguments, **options):
        plain(*arguments, **options)
        client.leg.cancel()

    setattr(client, cancel_at, leaving)
    peer, _ = await origin.answer(OK[:-1])
    assert await peer.end() == b""
    assert not client.over
    assert (there.in_flight, there.idle) == (0, 0)


async def test_a_new_request_from_within_the_end_takes_the_same_connection(bench, origin):
    there = bench()
    client = there.start()
    plain, clients = client.end, []

    def again():
        plain()
        clients.append(there.start(path=b"/next"))

    client.end = again
    peer, _ = await origin.answer(OK)
    assert (await peer.request()).startswith(b"GET /next ")
    await peer.send(OK)
    await clients[0].done()
    assert len(origin.peers) == 1


async def test_large_bodies_both_ways_at_one_time(bench, origin):
    there = bench()
    size, piece = 3_000_000, b"x" * 50_000
    client = there.start("POST", headers=[(b"content-length", b"%d" % size)], body=True)
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)

    async def echo():
        for _ in range(size // len(piece)):
            await peer.send(await peer.exactly(len(piece)))

    async def send():
        for _ in range(size // len(piece)):
            await client.until(lambda: not client.paused)
            client.leg.feed(piece)
        client.leg.end()

    async with asyncio.timeout(60):
        await asyncio.gather(echo(), send())
    await client.done()
    assert (len(client.body), client.ended, there.idle) == (size, True, 1)


async def test_a_client_may_leave_from_within_an_interim_answer(bench, origin):
    there = bench()
    client = there.start()
    plain = client.head

    def leaving(*arguments, **options):
        plain(*arguments, **options)
        client.leg.cancel()

    client.head = leaving
    peer, _ = await origin.answer(b"HTTP/1.1 103 A\r\n\r\nHTTP/1.1 103 B\r\n\r\n" + OK)
    assert await peer.end() == b""
    assert client.calls == ["head"]
    assert there.in_flight == 0


async def test_a_client_that_sends_on_from_within_resume_comes_behind_the_head(bench, origin):
    client = bench().start("POST", headers=[(b"content-length", b"100000")], body=True)
    client.resume = lambda: client.leg.feed(b"b" * 20_000)
    client.leg.feed(b"a" * 80_000)
    assert client.paused
    peer = await origin.peer()
    assert (await peer.until(b"\r\n\r\n")).startswith(b"POST ")
    assert await peer.exactly(100_000) == b"a" * 80_000 + b"b" * 20_000
