"""Instances behind TLS."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from micro.spec.upstream import TlsSpec

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@pytest.fixture
def certificate(certified):
    """A file with a certificate for `shop.internal`, and its key."""
    return certified("shop.internal")[1]


@pytest.fixture
async def secure(certified, other):
    """An instance behind TLS that shows the certificate, and wants none."""
    await other.close()
    context, _ = certified("shop.internal")
    await other.open(ssl=context)
    other.secure = f"https://127.0.0.1:{other.port}"
    return other


async def test_a_request_goes_through_tls_where_the_certificate_is_right(bench, secure, certificate):
    there = bench(secure.secure, tls=TlsSpec(ca=certificate, server_name="shop.internal"))
    for _ in range(2):
        client = there.start()
        peer = secure.peers[0] if secure.peers else await secure.peer()
        await peer.request()
        await peer.send(OK)
        await client.done()
        assert client.body == b"hello"
    assert len(secure.peers) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_a_certificate_that_is_not_right_is_refused(bench, secure, certificate, known):
    spec = TlsSpec(ca=certificate) if known else TlsSpec(server_name="shop.internal")
    there = bench(secure.secure, tls=spec)
    assert await there.start("POST").kind() == "tls_certificate_error"
    assert there.in_flight == 0


async def test_an_instance_that_speaks_no_tls(bench, origin):
    there = bench(f"https://127.0.0.1:{origin.port}")
    client = there.start()
    peer = await origin.peer()
    await peer.reader.read(1)
    await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert await client.kind() == "tls_protocol_error"


@pytest.mark.parametrize("setting", ["ca", "certificate"])
async def test_a_file_that_can_not_be_used_is_a_fault_of_the_configuration(bench, secure, setting, tmp_path):
    there = bench(secure.secure, tls=TlsSpec(**{setting: str(tmp_path / "missing.pem")}))
    assert await there.start().kind() == "proxy_configuration_error"


async def test_an_instance_may_want_a_certificate(bench, other, certificate):
    await other.close()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    await other.open(ssl=context)
    spec = TlsSpec(ca=certificate, certificate=certificate, server_name="shop.internal")
    client = bench(f"https://127.0.0.1:{other.port}", tls=spec).start()
    await other.answer(OK)
    await client.done()
    assert client.body == b"hello"


async def test_a_body_is_not_complete_where_tls_is_cut_off(bench, secure, certificate):
    there = bench(secure.secure, tls=TlsSpec(ca=certificate, server_name="shop.internal"))
    client = there.start()
    peer = await secure.peer()
    await peer.request()
    await peer.send(OK[:-1])
    await client.until(lambda: client.body)
    peer.close()
    assert await client.kind() == "http_response_incomplete"
    await asyncio.wait({asyncio.ensure_future(peer.end())})
