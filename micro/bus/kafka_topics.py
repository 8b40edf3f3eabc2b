"""Topics: which there are, and making those that are missing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
    for_code,
)

from micro.backend import Checkup
from micro.bus.kafka_client import Client, start
from micro.bus.kafka_rights import standing
from micro.errors import BusUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from micro.bus.kafka_url import Address

COPIES = 3
"""Of a new topic, where there are as many brokers: one may be away while two keep what is acknowledged."""
_OFFSET_DELETE = 47
"""The number of a request that came with Kafka 2.4 (https://kafka.apache.org/protocol.html#protocol_api_keys)."""
_REFUSED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_DAY = 24 * 3600 * 1000


class Topics:
    """Makes topics once each, with the partitions, copies and time that the URL says."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._known: set[str] = set()
        self._lock = asyncio.Lock()
        self._client = Client(address.brokers, self._start)
        self._brokers = 1

    async def open(self) -> None:
        """Log in. Raises `BusUnavailable` and `ConfigurationError`."""
        await self._client.open()

    async def _start(self) -> Any:
        admin = AIOKafkaAdminClient(**self._address.options())
        try:
            await start(admin, self._address.brokers)
        except BusUnavailable as error:
            if isinstance(error.__cause__, KafkaConnectionError) and await _listens(self._address):
                # Why a broker refuses us, the driver says in its log only.
                raise ConfigurationError(
                    f"kafka {self._address.brokers}: a broker listens and refuses the connection; "
                    f"check user, password and security={self._address.security}",
                    key="bus",
                ) from error.__cause__
            raise
        self._brokers = len(admin._client.cluster.brokers())  # noqa: SLF001 # asked for at the start, and not given out otherwise
        return admin

    async def check(self, needs: Mapping[str, Collection[str]]) -> Checkup:
        """What the brokers are, and whether the user has the rights to what `needs` says of each topic (`read`, `write`).

        Topics that are missing would have to be made. Needs no `open`. Raises `BusUnavailable` and `ConfigurationError`.
        """
        await self.open()
        try:
            async with self._client.use() as admin:
                await admin.describe_topics([])  # of none: who is connected, knows their versions
                _check_version(admin)
                missing, lacks = await standing(admin, needs)
                created = await self._create(admin, missing, dry_run=True)
        finally:
            await self.close()
        may_not = [f"{rights} {', '.join(names)}" for rights, names in lacks.items()]
        if refused := sorted(name for name, kind in created if kind in _REFUSED):
            which = "which is" if len(refused) == 1 else "which are"
            may_not.append(f"make {', '.join(refused)}, {which} not there")
        server = f"Kafka at {self._address.brokers}"
        said = f"{server}: the user may not {'; '.join(may_not)}" if may_not else ""
        return Checkup(server, said, self.copies > 1)

    @property
    def copies(self) -> int:
        """Of a new topic."""
        return self._address.replication or min(COPIES, self._brokers)

    async def close(self) -> None:
        """Log out. Idempotent."""
        await self._client.close()

    async def ensure(self, names: Collection[str]) -> None:
        """Return once all of them exist. Raises `BusUnavailable` and `ConfigurationError`."""
        if self._known.issuperset(names):
            return
        async with self._lock, self._client.use() as admin:
            if not self._known.issuperset(names):
                # Who may not make topics is refused even where they exist.
                self._known.update(await admin.list_topics())
            missing = [name for name in names if name not in self._known]
            refused = [each for each in await self._create(admin, missing) if each[1] in _REFUSED]
            self._known.update(set(missing).difference(name for name, _ in refused))
            for name, kind in refused:
                raise kind(name)

    def forget(self) -> None:
        """Look at all of them again when they are next asked for."""
        self._known.clear()

    def has(self, name: str) -> bool:
        """Whether `ensure` has found or made that topic."""
        return name in self._known

    async def positions(self) -> dict[str, dict[Any, int]]:
        """Per group, the committed offset of each of the driver's partitions."""
        async with self._client.use() as admin:
            groups = [name for name, *_ in await admin.list_consumer_groups()]
            found = await asyncio.gather(*map(admin.list_consumer_group_offsets, groups))
        return {
            group: {partition: place.offset for partition, place in offsets.items() if place.offset >= 0}
            for group, offsets in zip(groups, found, strict=True)
            if offsets
        }

    async def _create(
        self, admin: Any, names: Collection[str], *, dry_run: bool = False
    ) -> list[tuple[str, type[Exception]]]:
        """Make topics; what came of each: done, there already, or not allowed. Raises what else went wrong."""
        if not names:
            return []
        answer = await admin.create_topics(
            [self._new(name, self.copies) for name in names], validate_only=dry_run
        )
        results = [(name, for_code(code)) for name, code, *_ in answer.topic_errors]
        for name, kind in results:
            if kind not in {NoError, TopicAlreadyExistsError, *_REFUSED}:
                raise kind(name)
        return results

    def _new(self, name: str, copies: int) -> NewTopic:
        settings = {
            "retention.ms": str(self._address.keep_days * _DAY),
            "segment.ms": str(_DAY),  # only whole segments go, by their newest record
            "min.insync.replicas": "2" if copies >= COPIES else "1",
        }
        return NewTopic(name, self._address.partitions, copies, topic_configs=settings)


def _check_version(admin: Any) -> None:
    connections = admin._client._conns.values()  # noqa: SLF001 # versions are not given out otherwise
    if not any(_OFFSET_DELETE in each._versions for each in connections):  # noqa: SLF001 # as above
        raise UnsupportedVersionError


async def _listens(address: Address) -> bool:
    """Whether somebody takes connections at one of the addresses."""
    for host, port in address.hosts():
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
    return False
