"""Real servers on this machine, for parts that talk to other people's."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Listener:
    """An HTTP server that notes what it is sent and gives one answer."""

    port: int
    connections: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first request is there."""


@asynccontextmanager
async def _listening(answer=NO_CONTENT, *, tls=None, endless=b"", hold=None):
    """A listener for as long as the block runs.

    It answers once the event `hold` is set, and after `answer` writes `endless` over and over.
    """
    listener = Listener(0)
    serving = []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        listener.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            listener.requests.append((line, headers, body))
            listener.arrived.set()
            if hold:
                await hold.wait()
            writer.write(answer)
            await writer.drain()
            while endless:
                writer.write(endless)
                await writer.drain()
            if not answer:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    if tls:
        tls.sni_callback = lambda _socket, name, _context: listener.names.append(name)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@pytest.fixture
def listening():
    """Starts a `Listener`: an async context manager."""
    return _listening


@pytest.fixture
def certificate(tmp_path):
    """Makes two TLS contexts: of a server with a certificate for that name, and of a client that trusts it."""

    def make(name):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)  # noqa: TID251 # OpenSSL compares with the machine's own clock
        made = (
            x509.CertificateBuilder()
            .subject_name(issuer)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(file)
        return server, ssl.create_default_context(cafile=file)

    return make
