"""Fetching a document from a real listener: whole, small, soon, or not at all."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from serving import StreamServer

from micro.errors import CallError
from micro.security import outbound
from micro.security.outbound import fetch


def answer(body=b"", *, status=200, head=""):
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


async def test_a_document_arrives_as_it_is(listening):
    async with listening(answer(b'{"keys": []}')) as server:
        assert await fetch(f"http://127.0.0.1:{server.port}/a%20b?c=d") == b'{"keys": []}'
    ((line, headers, _),) = server.requests
    assert line == "GET /a%20b?c=d HTTP/1.1"
    assert (headers["accept-encoding"], headers["user-agent"]) == ("identity", "micro")


async def test_an_address_of_our_own_network_is_fine(listening):
    """The URL is the configuration's, not a stranger's."""
    async with listening(answer(b"x")) as server:
        assert await fetch(f"http://127.0.0.1:{server.port}/") == b"x"


async def test_a_document_that_is_too_large_is_dropped_when_that_shows(listening):
    """It may have no end."""
    head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with listening(head, endless=b"400\r\n" + b"x" * 1024 + b"\r\n") as server:
        with pytest.raises(CallError, match="more than 10000 bytes"):
            await fetch(f"http://127.0.0.1:{server.port}/", most=10_000)


async def test_a_document_of_the_largest_size_is_taken(listening):
    async with listening(answer(b"x" * 10_000)) as server:
        assert len(await fetch(f"http://127.0.0.1:{server.port}/", most=10_000)) == 10_000


async def test_an_answer_that_does_not_come_is_not_waited_for(listening):
    async with listening(hold=asyncio.Event()) as server:
        with pytest.raises(CallError, match="gave no answer"):
            await fetch(f"http://127.0.0.1:{server.port}/", seconds=0.05)


async def test_an_answer_that_trickles_is_not_waited_for_either(listening, monkeypatch):
    """The time is for the whole of it, not for each piece."""
    head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with listening(head, endless=b"1\r\nx\r\n") as server:
        with pytest.raises(CallError, match=r"TimeoutError|more than"):
            await fetch(f"http://127.0.0.1:{server.port}/", most=1 << 40, seconds=0.2)


@pytest.mark.parametrize("status", [201, 204, 301, 304, 400, 404, 500, 503])
async def test_every_other_status_than_200_is_an_error(listening, status):
    async with listening(answer(status=status)) as server:
        with pytest.raises(CallError, match=f"answered {status}"):
            await fetch(f"http://127.0.0.1:{server.port}/")


async def test_a_redirect_is_not_followed(listening):
    async with listening(answer(b"x")) as other:
        location = f"Location: http://127.0.0.1:{other.port}/\r\n"
        async with listening(answer(status=302, head=location)) as server:
            with pytest.raises(CallError):
                await fetch(f"http://127.0.0.1:{server.port}/")
    assert other.connections == 0


async def test_an_encoding_that_nobody_asked_for_is_refused(listening):
    """A few bytes could become gigabytes."""
    bomb = gzip.compress(b"x" * 1_000_000)
    async with listening(answer(bomb, head="Content-Encoding: gzip\r\n")) as server:
        with pytest.raises(CallError):
            await fetch(f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize(
    "cut", [b"", b"HTTP/1.1 200 X\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhalf", b"SMTP"]
)
async def test_an_answer_that_breaks_off_is_an_error(listening, cut):
    async def hang_up(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(cut)
        writer.close()

    async with StreamServer(hang_up) as server:
        with pytest.raises(CallError, match="gave no answer"):
            await fetch(f"http://127.0.0.1:{server.port}/")


async def test_nobody_who_listens_is_an_error():
    listener = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(CallError, match="gave no answer"):
        await fetch(f"http://127.0.0.1:{port}/")


async def test_over_tls_the_server_must_prove_its_name(listening, certificate, monkeypatch):
    tls, trusted = certificate("localhost")
    async with listening(answer(b"x"), tls=tls) as server:
        with pytest.raises(CallError, match="gave no answer"):
            await fetch(f"https://localhost:{server.port}/")
        monkeypatch.setattr(outbound, "authorities", lambda: trusted)
        assert await fetch(f"https://localhost:{server.port}/") == b"x"
        with pytest.raises(CallError, match="gave no answer"):
            await fetch(f"https://127.0.0.1:{server.port}/")


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch, listening):
    async with listening(answer(b"x")) as server, listening() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await fetch(f"http://127.0.0.1:{server.port}/") == b"x"
    assert proxy.connections == 0
