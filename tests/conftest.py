"""Rules for the whole suite."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import ssl
import sys
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from micro.clock import SystemClock

sys.path.append(str(Path(__file__).with_name("shared")))  # what tests everywhere import
logger = logging.getLogger("tests.servers")
_numbers = count(1)

# A busy machine is no reason to fail: what takes too long is a benchmark's business.
settings.register_profile("micro", deadline=None)
settings.load_profile("micro")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """On CI a test against a real server must run: a skip there is a failure, but for what a backend doesn't promise."""
    report = yield
    skipped = report.skipped and "promised: " not in str(report.longrepr)
    if skipped and os.environ.get("CI") and item.get_closest_marker("live"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped on CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("MICRO_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """Real servers, started by the very code that users start theirs with, each when the first test asks for it."""
    from micro.infra.local import Local  # most tests need none

    servers = Local(tmp_path_factory.mktemp("servers"), clock=SystemClock())
    yield servers
    asyncio.run(servers.down())


def _url(local, name):
    asyncio.run(local.up([name], logger.info))
    server = local.server(name)
    return server.url(server.record)


@pytest.fixture(scope="session")
def postgres_server(local):
    """The URL of a PostgreSQL server, `{service}` in the place of the database."""
    return _url(local, "postgres")


@pytest.fixture(scope="session")
def redis_server(local):
    """The URL of a Valkey server. This process gives it more time than a gateway would, which goes on without it."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("cache", "discovery"):
            patch.setattr(f"micro.{module}.redis.TIMEOUT", LIMIT)
        yield _url(local, "redis")


@pytest.fixture(scope="session")
def kafka_server(local):
    """The URL of a Kafka broker."""
    return _url(local, "kafka")


@pytest.fixture
def postgres_url(postgres_server):
    """The URL of an empty place of this test's own: a schema, which is faster to make than a database."""
    return f"{postgres_server.format(service='tests')}?schema=test_{next(_numbers)}"


@pytest.fixture(scope="session")
def certified(tmp_path_factory):
    """`certified(name)`: a server's TLS context with a certificate for that name, and the file by which clients trust it.

    The certificate is signed by itself; the file holds its key, too.
    """
    folder, files = tmp_path_factory.mktemp("tls"), {}

    def certified(name):
        if name not in files:
            files[name] = str(folder / f"{name}.pem")
            (folder / f"{name}.pem").write_bytes(_self_signed(name))
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(files[name])
        return server, files[name]

    return certified


def _self_signed(name):
    # Loaded when used: most tests need none.
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
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + made.public_bytes(serialization.Encoding.PEM)


LIMIT = 60.0
"""Seconds after which a test stops waiting; nothing takes anywhere near as long."""


class Witness:
    """Sees whether programs live: each that is watched holds a named pipe open, which the kernel closes with it.

    In a shell: `exec 9> PATH; echo here >&9`.
    """

    def __init__(self, folder):
        self.path = folder / "witness"
        os.mkfifo(self.path)
        self._pipe = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._seen = b""

    def line(self):
        """The next line that a program wrote."""
        while b"\n" not in self._seen:
            assert self._read(), "the program is gone"
        line, _, self._seen = self._seen.partition(b"\n")
        return line.decode()

    def ended(self):
        """Wait until no program holds the pipe any more. Call it after a `line`: before, nobody may have come yet."""
        while self._read():
            pass
        return True

    def close(self):
        os.close(self._pipe)

    def _read(self):
        ready, _, _ = select.select([self._pipe], (), (), LIMIT)
        assert ready, "nothing happened in time"
        data = os.read(self._pipe, 4096)
        self._seen += data
        return bool(data)


@pytest.fixture
def witness(tmp_path):
    """A named pipe, `witness.path`, that tells when whoever opened it has ended."""
    made = Witness(tmp_path)
    yield made
    made.close()


@pytest.fixture
def freeze():
    """Stops a process with SIGSTOP, and returns when it stands still; SIGCONT lets it go on."""

    async def freeze(pid):
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                await SystemClock().sleep(0.01)

    return freeze
