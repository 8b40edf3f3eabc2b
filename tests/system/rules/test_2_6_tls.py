"""Reference 2.6: what can go wrong in finding an instance, and in speaking TLS with it."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from rig.client import problem
from rig.end import LIMIT
from rig.written import answered, get

from micro.gateway.upstream import dial
from micro.spec.upstream import RetrySpec, TlsSpec, UpstreamSpec

pytestmark = pytest.mark.needs("instances")


@pytest.fixture(scope="session")
def certificate(certified):
    """A server's context for the name `instance.test`, and the file that makes it trusted."""
    return certified("instance.test")


def over_tls(world, **tls):
    """A gateway whose instance is asked for in TLS."""
    spec = UpstreamSpec(retry=RetrySpec(attempts=1), tls=TlsSpec(**tls))
    world.serve(urls=[world.origin.url.replace("http:", "https:")], upstream=spec)
    return world.connect()


def shaken(world, context):
    """The origin's side of a TLS connection; nothing where the gateway refuses it."""
    line = world.origin.accept()
    line.open = False  # it is not the origin's any more, but the test's
    try:
        return context.wrap_socket(line.sock, server_side=True)
    except (ssl.SSLError, ConnectionError):
        return None


def test_an_instance_is_asked_in_tls(world, certificate):
    context, file = certificate
    client = over_tls(world, ca=file, server_name="instance.test")
    client.send(get(b"/secret"))
    with shaken(world, context) as tls:
        tls.settimeout(LIMIT)
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += tls.recv(65536)
        assert data.startswith(b"GET /secret HTTP/1.1\r\n")
        tls.sendall(answered(b"hello"))
        assert client.answer().body == b"hello"
        client.send(get(b"/again"))
        assert tls.recv(65536).startswith(b"GET /again HTTP/1.1\r\n")
        tls.sendall(answered(b"hello again"))
        assert client.answer().body == b"hello again"


@pytest.mark.parametrize("trusted", [False, True], ids=["a stranger's", "another name's"])
def test_tls_certificate_error_is_502(world, certificate, trusted):
    context, file = certificate
    client = over_tls(world, ca=file if trusted else None, server_name="other.test")
    client.send(get())
    tls = shaken(world, context)
    if tls is not None:  # TLS 1.3: the origin is done before the gateway has judged
        tls.close()
    problem(client.answer(), 502, "tls_certificate_error")
    assert client.goes_on()


def test_tls_protocol_error_is_502(world):
    client = over_tls(world)
    client.send(get())
    line = world.origin.accept()
    assert line.source.some().startswith(b"\x16\x03"), "a handshake, and nothing of the request"
    line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    problem(client.answer(), 502, "tls_protocol_error")
    assert client.goes_on()


def unresolved(code):
    async def look_up(instance):
        raise socket.gaierror(code, "x")

    return look_up


async def never(instance):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("look_up", "status", "kind"),
    [
        (unresolved(socket.EAI_NONAME), 502, "dns_error"),
        (unresolved(socket.EAI_FAIL), 502, "dns_error"),
        (unresolved(socket.EAI_AGAIN), 504, "dns_timeout"),
        (never, 504, "dns_timeout"),
    ],
)
def test_dns_error_is_502_and_dns_timeout_504(world, monkeypatch, look_up, status, kind):
    monkeypatch.setattr(dial, "_look_up", look_up)
    world.serve(upstream=UpstreamSpec(connect_timeout=0.2, retry=RetrySpec(attempts=1)))
    client = world.connect()
    problem(client.ask(get()), status, kind)
    assert client.goes_on()
