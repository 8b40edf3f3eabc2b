"""What can go wrong with an instance, and what it is called (gateway.md 2.6; RFC 9209 section 2.3)."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from micro.gateway.refusals import fail
from micro.gateway.upstream.dial import kind_of
from micro.gateway.upstream.pool import Pool
from micro.gateway.upstream.ports import UpstreamError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


async def test_a_refused_connection(bench, origin):
    await origin.close()
    there = bench()
    client = there.start()
    assert await client.kind() == "connection_refused"
    assert (there.in_flight, there.instance.failures) == (0, 1)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "dns_error"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "dns_timeout"),
        (ConnectionRefusedError(), "connection_refused"),
        (ConnectionResetError(), "connection_terminated"),
        (OSError(errno.EHOSTUNREACH, "no route"), "destination_ip_unroutable"),
        (ssl.SSLCertVerificationError(), "tls_certificate_error"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "tls_protocol_error"),
    ],
)
def test_every_failure_to_connect_has_its_kind(error, kind):
    assert kind_of(error) == kind


async def test_a_name_that_nobody_knows(bench, monkeypatch):
    async def unknown(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    assert await bench("http://shop.invalid").start().kind() == "dns_error"


@pytest.mark.parametrize(
    ("slow", "kind"), [("getaddrinfo", "dns_timeout"), ("create_connection", "connection_timeout")]
)
async def test_connecting_has_a_deadline(bench, monkeypatch, slow, kind):
    async def hang(*args, **options):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), slow, hang)
    there = bench(connect_timeout=0.3)
    assert await there.start().kind() == kind
    assert there.in_flight == 0


async def test_the_first_address_that_answers_is_taken(bench, origin, monkeypatch):
    async def two(host, port, **options):
        return [(2, 1, 6, "", ("127.0.0.1", port)), (2, 1, 6, "", ("127.0.0.1", 1))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    client = bench(f"http://localhost:{origin.port}").start()
    await origin.answer()
    await client.done()
    assert client.ended


async def test_the_next_address_is_tried_where_one_does_not_answer(bench, origin, monkeypatch):
    async def two(host, port, **options):
        return [(2, 1, 6, "", ("127.0.0.1", 1)), (2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    client = bench(f"http://localhost:{origin.port}").start()
    await origin.answer()
    await client.done()
    assert client.ended


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", "connection_terminated"),
        (b"HTTP/1.1 200", "http_response_incomplete"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "http_protocol_error"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "http_response_transfer_coding"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70000 + b"\r\n\r\n", "http_response_header_section_size"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "http_upgrade_failed"),
        (b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "http_upgrade_failed"),
    ],
)
async def test_what_is_no_answer_ends_the_connection(bench, origin, sent, kind):
    there = bench()
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    await peer.send(sent)
    peer.writer.write_eof()
    assert await client.kind() == kind
    assert client.heads == []
    assert await peer.end() == b""
    assert (there.idle, there.in_flight, there.instance.failures) == (0, 0, 1)


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_s11_a_body_that_is_cut_off_never_ends_cleanly(bench, origin, leave):
    there = bench()
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    await peer.send(HEAD + b"hell")
    await client.until(lambda: client.body == b"hell")
    getattr(peer, leave)()
    assert await client.kind() == "http_response_incomplete"
    assert not client.ended
    assert (there.in_flight, there.instance.failures) == (0, 1)


async def test_s11_a_reset_is_not_the_end_of_a_body_without_a_length(bench, origin):
    client = bench().start()
    peer = await origin.peer()
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhell")
    await client.until(lambda: client.body == b"hell")
    peer.reset()
    assert await client.kind() == "http_response_incomplete"


async def test_a_close_is_the_end_of_a_body_without_a_length(bench, origin):
    there = bench()
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    peer.close()
    await client.done()
    assert (client.heads[0][2], client.body, client.ended, there.in_flight) == (None, b"hello", True, 0)


async def test_malformed_chunks_break_the_answer_off(bench, origin):
    client = bench().start()
    peer = await origin.peer()
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await client.until(lambda: client.body == b"hello")
    await peer.send(b"0x1\r\n!\r\n")
    assert await client.kind() == "http_protocol_error"
    assert await peer.end() == b""


async def test_the_first_byte_has_a_deadline(bench, origin):
    there = bench(first_byte_timeout=2.0)
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    await there.clock.advance(1.9)
    assert not client.over
    await there.clock.advance(0.4)
    assert await client.kind() == "connection_read_timeout"
    assert await peer.end() == b""
    assert there.instance.failures == 1


async def test_the_first_byte_s_deadline_begins_with_the_end_of_the_request(bench, origin):
    there = bench(first_byte_timeout=2.0)
    client = there.start("POST", headers=[(b"content-length", b"3")], body=True)
    peer = await origin.peer()
    await there.clock.advance(5)
    client.leg.feed(b"abc")
    client.leg.end()
    await peer.request()
    await there.clock.advance(1.8)
    assert not client.over
    await there.clock.advance(0.5)
    assert await client.kind() == "connection_read_timeout"


async def test_every_further_byte_has_a_deadline(bench, origin):
    there = bench(read_timeout=3.0)
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    for count, piece in enumerate((HEAD, b"h", b"e")):
        await peer.send(piece)
        await client.until(lambda count=count: len(client.calls) == count + 1)
        await there.clock.advance(2.5)
    assert not client.over
    await there.clock.advance(0.8)
    assert await client.kind() == "connection_read_timeout"


async def test_an_instance_that_takes_nothing_has_a_deadline(bench, origin, settle):
    there = bench(write_timeout=4.0)
    client = there.start("POST", headers=[(b"content-length", b"100000000")], body=True)
    peer = await origin.peer()
    peer.writer.transport.pause_reading()
    while not client.paused:
        client.leg.feed(b"a" * 500_000)
        await asyncio.wait({asyncio.ensure_future(peer.send(b""))})
    await there.clock.advance(4.5)
    assert await client.kind() == "connection_write_timeout"
    assert there.in_flight == 0


async def test_an_instance_that_takes_something_has_its_time_again(bench, origin):
    there = bench(write_timeout=4.0)
    client = there.start("POST", headers=[(b"content-length", b"100000000")], body=True)
    peer = await origin.peer()
    await peer.until(b"\r\n\r\n")
    sent = 0
    while sent < 20_000_000:
        client.leg.feed(b"a" * 500_000)
        sent += 500_000
    await client.until(lambda: client.paused)
    for _ in range(3):
        await there.clock.advance(3)
        await peer.exactly(4_000_000)
    assert not client.over
    await peer.exactly(sent - 12_000_000)
    await client.until(lambda: not client.paused)
    client.leg.cancel()


async def test_an_instance_that_hangs_up_at_once(bench, origin, monkeypatch):
    plain = Pool.open

    async def closing(pool, protocol):
        made = await plain(pool, protocol)
        made.transport.abort()
        return made

    monkeypatch.setattr(Pool, "open", closing)
    there = bench()
    assert await there.start("POST").kind() == "connection_terminated"
    assert there.in_flight == 0


async def test_no_instance_that_may_get_traffic(bench):
    there = bench("http://127.0.0.1:1")
    there.cluster.update([])
    client = there.start()
    assert client.error.kind == "destination_unavailable"
    client.leg.cancel()
    assert there.in_flight == 0


async def test_a_line_end_inside_a_field_is_never_sent(bench, origin):
    there = bench()
    client = there.start(headers=[(b"x-a", b"1\r\nx-admin: yes")])
    peer = await origin.peer()
    assert await client.kind() == "proxy_internal_error"
    assert await peer.end() == b""
    assert (there.in_flight, there.instance.failures) == (0, 0)


async def test_a_client_that_leaves_takes_its_request_back(bench, origin):
    there = bench()
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    client.leg.cancel()
    client.leg.cancel()
    assert await peer.end() == b""
    assert (there.in_flight, there.instance.failures, client.calls) == (0, 0, [])


async def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_it(bench, origin):
    there = bench()
    client = there.start()
    peer = await origin.peer()
    await peer.request()
    await peer.send(HEAD + b"hell")
    await client.until(lambda: client.body)
    client.leg.cancel()
    assert await peer.end() == b""
    assert not client.over


async def test_a_request_that_is_taken_back_while_it_connects_leaves_nothing(bench, origin):
    there = bench()
    client = there.start()
    client.leg.cancel()
    client.leg.feed(b"x")
    client.leg.end()
    await there.upstream.close()
    assert (there.in_flight, client.calls) == (0, [])


async def test_a_route_s_deadline_counts_against_the_instance(bench, origin):
    there = bench()
    client = there.start(timeout=2.0)
    await (await origin.peer()).request()
    await there.clock.advance(2)
    client.leg.cancel()
    assert there.instance.failures == 1


async def test_events_that_went_on_for_longer_than_the_routes_time_speak_against_nobody(bench, origin):
    there = bench()
    client = there.start()
    await origin.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    await client.until(lambda: client.body)
    await there.clock.advance(16)
    client.leg.cancel()
    assert there.instance.failures == 0


KINDS = """dns_timeout dns_error destination_not_found destination_unavailable destination_ip_unroutable
connection_refused connection_terminated connection_timeout connection_read_timeout connection_write_timeout
connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received http_response_incomplete
http_response_header_section_size http_response_trailer_section_size http_response_transfer_coding
http_response_timeout http_upgrade_failed http_protocol_error proxy_configuration_error proxy_internal_error"""


@pytest.mark.parametrize("kind", KINDS.split())
def test_every_kind_has_an_answer_of_its_own(kind, exchange_of):
    answer = fail(exchange_of(), kind)
    status = dict(answer.headers)[b"proxy-status"]
    assert status == b"micro; error=" + kind.encode()
    slow, ours = kind.endswith("_timeout"), kind.startswith("proxy_") or kind == "destination_not_found"
    full = kind in {"destination_unavailable", "connection_limit_reached"}
    assert answer.status == (504 if slow else 500 if ours else 503 if full else 502)


def test_the_text_of_a_failure_is_not_its_kind():
    error = UpstreamError("dns_error", "db-1.internal: unknown")
    assert (error.kind, str(error)) == ("dns_error", "db-1.internal: unknown")
