"""What the contract suites of the bus share: fixtures, deadlines, and how to skip what isn't promised."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest

from micro.clock import SystemClock
from micro.ids import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from micro.bus.events import LoggedBus
    from micro.bus.message import Partition, Record
    from micro.bus.ports import Bus, Subscription


async def collect(member: Subscription, count: int, *, deadline: float = 60.0) -> list[Record]:
    """The next `count` records of a member; `TimeoutError` after `deadline` seconds."""
    records: list[Record] = []
    async with asyncio.timeout(deadline):
        while len(records) < count:
            records += await member.fetch(limit=count - len(records), wait=deadline)
    return records


def values(records: Iterable[Record]) -> list[bytes]:
    """What the messages carried, in order."""
    return [record.message.value for record in records]


def need(bus: Bus, feature: str) -> None:
    """Skip the test, by name, where the backend does not promise `feature`."""
    if not getattr(bus.features, feature):
        pytest.skip(f"not promised: {feature}")


class BusFixtures:
    """What the tests of both suites are given."""

    silence: ClassVar[float] = 0.05
    """Seconds after which a record that has not come is taken as not coming. Longer where the network is."""

    @pytest.fixture
    def make(self) -> Callable[[], Awaitable[LoggedBus]]:
        """Opens a bus; see the module."""
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    async def bus(self, make: Callable[[], Awaitable[LoggedBus]]) -> AsyncIterator[LoggedBus]:
        """An open bus."""
        bus = await make()
        yield bus
        await bus.close()

    @pytest.fixture
    def topic(self) -> str:
        """A topic that no other test uses."""
        return f"topic-{new_id(SystemClock())}"

    @pytest.fixture
    def group(self) -> str:
        """A group that no other test uses."""
        return f"group-{new_id(SystemClock())}"

    async def settled(self, *members: Subscription) -> None:
        """Return once the members share the partitions: each has some, none is in two hands."""
        hands: list[frozenset[Partition]] = [frozenset()]
        async with asyncio.timeout(60):
            while not all(hands) or len(frozenset().union(*hands)) < sum(map(len, hands)):
                for member in members:
                    assert await member.fetch(limit=1, wait=self.silence) == [], "settle before publishing"
                hands = [member.assigned() for member in members]


async def member_waits() -> None:
    """Let a task that was just made get as far as it can without anything arriving."""
    for _ in range(20):
        await SystemClock().sleep(0)
