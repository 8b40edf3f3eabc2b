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
from micro.bus.kafka_errors import DRIVER_ERRORS, translate, translated
from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

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
        self._admin: Any = None

    async def open(self) -> None:
        """Log in. Raises `BusUnavailable` and `ConfigurationError`."""
        admin = AIOKafkaAdminClient(**self._address.options())
        try:
            await admin.start()
        except DRIVER_ERRORS as error:
            await admin.close()
            if isinstance(error, KafkaConnectionError) and await _listens(self._address):
                # Why a broker refuses us, the driver says in its log only.
                raise ConfigurationError(
                    f"kafka {self._address.brokers}: a broker listens and refuses the connection; "
                    f"check user, password and security={self._address.security}",
                    key="bus",
                ) from error
            raise translate(error, self._address.brokers) from error
        self._admin = admin

    async def check(self, names: Collection[str]) -> Checkup:
        """What the brokers are, and whether those of `names` that are missing could be made. Needs no `open`.

        Raises `BusUnavailable` and `ConfigurationError`.
        """
        await self.open()
        try:
            with translated(self._address.brokers):
                missing = sorted(set(names).difference(await self._admin.list_topics()))
                self._check_version()
                durable = self.copies > 1
                refused = [
                    name for name, kind in await self._create(missing, dry_run=True) if kind in _REFUSED
                ]
        finally:
            await self.close()
        said = f"kafka {self._address.brokers}: the user may not make topics, and these are missing"
        lacks = f"{said}: {', '.join(sorted(refused))}" if refused else ""
        return Checkup(f"Kafka at {self._address.brokers}", lacks, durable)

    @property
    def copies(self) -> int:
        """Of a new topic."""
        brokers = self._admin._client.cluster.brokers()  # noqa: SLF001 # asked for at the start, and not given out otherwise
        return self._address.replication or min(COPIES, len(brokers))

    async def close(self) -> None:
        """Log out. Idempotent."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def ensure(self, names: Collection[str]) -> None:
        """Return once all of them exist. Raises `BusUnavailable` and `ConfigurationError`."""
        if self._known.issuperset(names):
            return
        async with self._lock:
            missing = [name for name in names if name not in self._known]
            with translated(self._address.brokers):
                for name, kind in await self._create(missing):
                    if kind in _REFUSED:
                        raise kind(name)
            self._known.update(missing)

    async def positions(self) -> dict[str, dict[Any, int]]:
        """Per group, the committed offset of each of the driver's partitions."""
        with translated(self._address.brokers):
            groups = [name for name, *_ in await self._admin.list_consumer_groups()]
            found = await asyncio.gather(*map(self._admin.list_consumer_group_offsets, groups))
        return {
            group: {partition: place.offset for partition, place in offsets.items() if place.offset >= 0}
            for group, offsets in zip(groups, found, strict=True)
            if offsets
        }

    async def _create(
        self, names: Collection[str], *, dry_run: bool = False
    ) -> list[tuple[str, type[Exception]]]:
        """Make topics; what came of each: done, there already, or not allowed. Raises what else went wrong."""
        if not names:
            return []
        answer = await self._admin.create_topics(
            [self._new(name, self.copies) for name in names], validate_only=dry_run
        )
        results = [(name, for_code(code)) for name, code, *_ in answer.topic_errors]
        for name, kind in results:
            if kind not in {NoError, TopicAlreadyExistsError, *_REFUSED}:
                raise kind(name)
        return results

    def _check_version(self) -> None:
        connections = self._admin._client._conns.values()  # noqa: SLF001 # versions are not given out otherwise
        if not any(_OFFSET_DELETE in each._versions for each in connections):  # noqa: SLF001 # as above
            raise UnsupportedVersionError

    def _new(self, name: str, copies: int) -> NewTopic:
        settings = {
            "retention.ms": str(self._address.keep_days * _DAY),
            "min.insync.replicas": "2" if copies >= COPIES else "1",
        }
        return NewTopic(name, self._address.partitions, copies, topic_configs=settings)


async def _listens(address: Address) -> bool:
    """Whether somebody takes connections at one of the addresses."""
    for host, port in address.hosts():
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
    return False
