"""What a URL says of TLS and of the password's mechanism reaches a broker that asks for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from micro.bus.kafka import KafkaBus
from micro.bus.message import Message
from micro.clock import SystemClock
from micro.errors import BusUnavailable, ConfigurationError
from micro.infra.kafka import USER, Kafka
from micro.infra.server import LOOPBACK, write_private

pytestmark = pytest.mark.live

HOST = "localhost"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
SETTINGS = """
ssl.keystore.type=PEM
ssl.keystore.certificate.chain={certificate}
ssl.keystore.key={key}
ssl.truststore.type=PEM
ssl.truststore.certificates={certificate}
ssl.endpoint.identification.algorithm=
"""
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Guarded(Kafka):
    """A broker that is asked by TLS, and knows its user by three mechanisms."""

    def __init__(self, folder, pem, *, clock):
        super().__init__(folder, clock=clock)
        key, begin, certificate = pem.partition("-----BEGIN CERTIFICATE")
        self._pem = {
            "key": key.strip().replace("\n", "\\n"),
            "certificate": (begin + certificate).strip().replace("\n", "\\n"),
        }

    async def run(self, command, **options):
        if "format" in command:
            for mechanism in SCRAM:
                command = [
                    *command,
                    "--add-scram",
                    f"{mechanism}=[name={USER},password={self.record.password}]",
                ]
        return await super().run(command, **options)

    async def prepare(self, record, tell):
        await super().prepare(record, tell)
        text = self._configuration.read_text()
        text = text.replace("CLIENT:SASL_PLAINTEXT", "CLIENT:SASL_SSL")
        text = text.replace(
            f"advertised.listeners=CLIENT://{LOOPBACK}", f"advertised.listeners=CLIENT://{HOST}"
        )
        text = text.replace(
            "sasl.enabled.mechanisms=PLAIN", ",".join(("sasl.enabled.mechanisms=PLAIN", *SCRAM))
        )
        text += SETTINGS.format(**self._pem)
        for mechanism in SCRAM:
            text += f"listener.name.client.{mechanism.lower()}.sasl.jaas.config={LOGIN}\n"
        write_private(self._configuration, text.encode())

    async def answers(self, record):
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, record.ports[0])
        except OSError:
            return False
        writer.close()
        return True


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, certified):
    """Where the broker is, without what clients have to know, and the file by which they trust it."""
    _, ca = certified(HOST)
    server = Guarded(tmp_path_factory.mktemp("guarded"), Path(ca).read_text(), clock=SystemClock())
    asyncio.run(server.start(lambda text: None))
    try:
        yield server.url(server.record).partition("?")[0].replace(LOOPBACK, HOST), ca
    finally:
        asyncio.run(server.stop())


@pytest.fixture
async def bus_at():
    """Buses that are closed with the test."""
    made = []

    def bus_at(url):
        made.append(KafkaBus(url, clock=SystemClock()))
        return made[-1]

    yield bus_at
    for bus in made:
        await bus.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
async def test_events_go_by_tls_with_every_mechanism(guarded, bus_at, mechanism):
    base, ca = guarded
    bus = bus_at(f"{base}?security=sasl_ssl&ca={ca}&mechanism={mechanism}")
    await bus.open()
    topic = f"{mechanism.lower()}.events"
    await bus.publish([Message(topic, "k", b"v")])
    member = await bus.subscribe("group", [topic])
    async with asyncio.timeout(60):
        while not (found := await member.fetch(limit=5, wait=1.0)):
            pass
    assert [record.message.value for record in found] == [b"v"]


@pytest.mark.parametrize(
    "said",
    [
        "security=sasl_ssl",
        "security=sasl_plaintext",
        "security=sasl_ssl&ca={ca}&mechanism=SCRAM-SHA-256&wrong",
    ],
    ids=["an unknown certificate", "no TLS", "a wrong password"],
)
async def test_what_does_not_fit_is_one_sentence(guarded, bus_at, said):
    base, ca = guarded
    if said.endswith("&wrong"):
        name, _, place = base.rpartition("@")
        base = f"{name.rpartition(':')[0]}:wrong@{place}"
    bus = bus_at(f"{base}?{said.removesuffix('&wrong').format(ca=ca)}")
    with pytest.raises((BusUnavailable, ConfigurationError)) as caught:
        await bus.open()
    assert "\n" not in str(caught.value)
    assert "wrong@" not in str(caught.value)
