"""A WebSocket on the short path: after the handshake the bytes pass as they are."""

from __future__ import annotations

import pytest

from micro.gateway.upstream.frames import MAX_MESSAGE, close_frame

ASKS = [
    (b"connection", b"keep-alive, Upgrade"),
    (b"upgrade", b"WebSocket"),
    (b"sec-websocket-key", b"a2V5"),
    (b"sec-websocket-version", b"13"),
]
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
HI = b"\x81\x82maskhi"
HO = b"\x81\x02ho"


async def switched(there, origin, rest=b""):
    client = there.start(headers=ASKS)
    peer, request = await origin.answer(SWITCHED + rest)
    await client.until(lambda: client.heads)
    client.request = request
    return client, peer


async def test_the_handshake_and_then_the_bytes_pass_both_ways(bench, origin):
    client, peer = await switched(bench(), origin, HO)
    assert b"\r\nconnection: Upgrade\r\nupgrade: websocket\r\n" in client.request
    assert b"\r\nsec-websocket-key: a2V5\r\n" in client.request
    assert client.heads == [(101, {b"sec-websocket-accept": b"x"}, None)]
    await client.until(lambda: client.body == HO)
    client.leg.feed(HI)
    assert await peer.exactly(len(HI)) == HI
    await peer.send(HO)
    await client.until(lambda: client.body == HO + HO)


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ([(b"connection", b"upgrade"), (b"upgrade", b"h2c")], {}),
        ([(b"connection", b"close"), (b"upgrade", b"websocket")], {}),
        (ASKS, {"version": "1.0"}),
        (ASKS, {"method": "POST"}),
    ],
)
async def test_h4_no_other_upgrade_goes_on(bench, origin, headers, more):
    client = bench().start(headers=headers, **more)
    _, request = await origin.answer()
    await client.done()
    assert b"upgrade" not in request.lower()


async def test_h4_no_other_protocol_comes_back(bench, origin):
    there = bench()
    client = there.start(headers=ASKS)
    await origin.answer(SWITCHED.replace(b"websocket", b"h2c"))
    assert await client.kind() == "http_upgrade_failed"
    assert client.heads == []
    assert there.in_flight == 0


async def test_a_refused_handshake_is_an_answer_like_any_other(bench, origin):
    there = bench()
    client = there.start(headers=ASKS)
    await origin.answer(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
    await client.done()
    assert (client.status, client.body, client.ended, there.idle) == (403, b"no", True, 1)


async def test_when_the_instance_closes_the_client_is_told(bench, origin):
    there = bench()
    client, peer = await switched(there, origin)
    await peer.send(close_frame(1000, masked=False))
    client.leg.feed(close_frame(1000, masked=True))
    await peer.exactly(8)
    peer.close()
    await client.done()
    assert client.ended
    assert (there.in_flight, there.idle, there.instance.failures) == (0, 0, 0)


async def test_when_the_instance_breaks_off_the_client_is_told(bench, origin):
    there = bench()
    client, peer = await switched(there, origin)
    peer.reset()
    assert await client.kind() == "connection_terminated"
    assert there.in_flight == 0


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_when_the_client_leaves_the_instance_is_told(bench, origin, how):
    there = bench()
    client, peer = await switched(there, origin)
    client.leg.feed(HI)
    assert await peer.exactly(len(HI)) == HI
    getattr(client.leg, how)()
    client.leg.feed(HI)
    client.leg.end()
    assert await peer.end() == b""
    assert (there.in_flight, client.over, there.instance.failures) == (0, False, 0)


async def test_what_the_client_sent_before_it_left_arrives(bench, origin):
    client, peer = await switched(bench(), origin)
    client.leg.feed(HI)
    client.leg.end()
    assert await peer.end() == HI


async def test_a_message_that_is_too_long_ends_both_sides(bench, origin):
    there = bench()
    client, peer = await switched(there, origin)
    client.leg.feed(HI + b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + b"mask")
    assert await peer.end() == HI + close_frame(1009, masked=True)
    await client.done()
    assert (client.body, client.ended, there.in_flight) == (close_frame(1009, masked=False), True, 0)


async def test_a_message_of_the_instance_that_is_too_long_ends_both_sides(bench, origin):
    client, peer = await switched(bench(), origin)
    await peer.send(HO + b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big"))
    assert await peer.end() == close_frame(1009, masked=True)
    await client.done()
    assert client.body == HO + close_frame(1009, masked=False)


async def test_no_close_frame_is_put_into_the_middle_of_another_one(bench, origin):
    client, peer = await switched(bench(), origin)
    await peer.send(b"\x81\x05he")
    await client.until(lambda: client.body)
    client.leg.feed(b"\x89\xfe\x00\x7emask")
    await client.done()
    assert client.body == b"\x81\x05he"
    assert client.ended


async def test_silence_ends_it_and_every_byte_puts_that_off(bench, origin):
    there = bench(read_timeout=10.0)
    client, peer = await switched(there, origin)
    await there.clock.advance(8)
    client.leg.feed(HI)
    await peer.exactly(len(HI))
    await there.clock.advance(8)
    await peer.send(HO)
    await client.until(lambda: client.body)
    await there.clock.advance(8)
    assert not client.over
    await there.clock.advance(3)
    assert await peer.end() == close_frame(1001, masked=True)
    assert client.body == HO + close_frame(1001, masked=False)
    assert there.instance.failures == 0


async def test_when_the_gateway_stops_both_sides_are_told(bench, origin):
    there = bench()
    client, peer = await switched(there, origin)
    client.leg.close()
    assert await peer.end() == close_frame(1012, masked=True)
    assert client.body == close_frame(1012, masked=False)
    assert (client.ended, there.in_flight) == (True, 0)


async def test_an_exchange_that_is_no_tunnel_ends_by_itself_then(bench, origin):
    client = bench().start()
    client.leg.close()
    await origin.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    await client.done()
    assert (client.status, client.body, client.ended) == (200, b"ok", True)


async def test_an_instance_that_does_not_hang_up_after_the_goodbyes_is_left(bench, origin):
    there = bench()
    client, peer = await switched(there, origin)
    await peer.send(close_frame(1000, masked=False))
    client.leg.feed(close_frame(1000, masked=True))
    await client.until(lambda: client.body)
    await there.clock.advance(10.3)
    await client.done()
    assert await peer.end() == close_frame(1000, masked=True)
    assert client.body == close_frame(1000, masked=False)


async def test_a_route_s_deadline_is_for_the_handshake_only(bench, origin):
    there = bench()
    client, _ = await switched(there, origin)
    await there.clock.advance(30)
    client.leg.cancel()
    assert there.instance.failures == 0


async def test_who_sends_waits_for_who_receives(bench, origin):
    client, peer = await switched(bench(), origin)
    client.leg.pause()
    wire = b"\x82\x7e\xff\xff" + b"x" * 65535
    while peer.writer.transport.get_write_buffer_size() < 1_000_000:
        peer.writer.write(wire)
    before = len(client.body)
    client.leg.resume()
    await client.until(lambda: len(client.body) > before + 500_000)
    assert before < 300_000
    sent = 0
    while not client.paused:
        client.leg.feed(wire)
        sent += len(wire)
    await peer.exactly(sent)
    await client.until(lambda: not client.paused)
