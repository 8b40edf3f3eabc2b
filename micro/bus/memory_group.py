"""The memory bus's groups: members that share the partitions, and one position in each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.errors import BusUnavailable, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from micro.bus.memory_log import Logs
    from micro.bus.message import Partition, Record
    from micro.bus.ports import Journal
    from micro.clock import Clock


class Arrivals:
    """Lets readers wait for records without asking again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Wake everyone who waits for a record, a partition or the end."""
        self._next.set()
        self._next = asyncio.Event()

    async def first(self, read: Callable[[], Awaitable[list[Record] | None]], wait: float) -> list[Record]:
        """What `read` finds, as soon as it finds something, but no later than `wait` seconds from now.

        Nothing at once when `read` answers `None`: there will be nothing more.
        """
        deadline = self._clock.monotonic() + wait
        while True:
            arrival = self._next  # taken before reading, so that no record slips between
            records = await read()
            left = deadline - self._clock.monotonic()
            if records is None or records or left <= 0:
                return records or []
            try:
                async with asyncio.timeout(left):
                    await arrival.wait()
            except TimeoutError:
                return []


class Group:
    """One group: who is in it and how far it has come."""

    def __init__(self, name: str, *, logs: Logs, arrivals: Arrivals, journal: Journal | None) -> None:
        self.name = name
        self.positions: dict[Partition, int] = {}
        self.members: list[Member] = []
        self.logs = logs
        self.arrivals = arrivals
        self._journal = journal

    def join(self, topics: Collection[str]) -> Member:
        """A new member, which takes its share from the others."""
        member = Member(self, topics)
        self.members.append(member)
        self._deal()
        return member

    def leave(self, member: Member) -> None:
        """Give a member's share to the others."""
        self.members.remove(member)
        self._deal()

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Store positions. Raises `BusUnavailable`."""
        if self._journal is not None:
            try:
                await self._journal.commit(self.name, positions)
            except (StoreError, OSError) as error:
                raise BusUnavailable(f"{self.name}: positions not stored: {error}") from error
        self.positions.update(positions)

    def _deal(self) -> None:
        """Share out each topic's partitions among those who asked for it."""
        hands: dict[Member, list[Partition]] = {member: [] for member in self.members}
        for topic in {topic for member in hands for topic in member.topics}:
            players = [member for member in hands if topic in member.topics]
            for partition in self.logs.create(topic):
                hands[players[partition.number % len(players)]].append(partition)
        for member, hand in hands.items():
            member.assign({p: self.positions.get(p, self.logs.start(p)) for p in hand})
        self.arrivals.notify()


class Member:
    """A `Subscription`: the partitions dealt to it, and how far it has fetched in each."""

    def __init__(self, group: Group, topics: Collection[str]) -> None:
        self.topics = frozenset(topics)
        self._group = group
        self._next: dict[Partition, int] = {}
        self._closed = False

    def assign(self, starts: Mapping[Partition, int]) -> None:
        """Own these partitions from now on; those that are new begin at the offset given."""
        self._next = {partition: self._next.get(partition, start) for partition, start in starts.items()}

    def assigned(self) -> frozenset[Partition]:
        """See `Subscription.assigned`."""
        return frozenset(self._next)

    async def fetch(self, *, limit: int, wait: float, exclude: Collection[Partition] = ()) -> list[Record]:
        """See `Subscription.fetch`. Raises `BusUnavailable` after `close`."""
        if self._closed:
            raise BusUnavailable(f"{self._group.name}: this member has left the group")
        return await self._group.arrivals.first(lambda: self._take(limit, exclude), wait)

    async def commit(self, positions: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """See `Subscription.commit`."""
        reached = self._group.positions
        mine = {
            partition: offset
            for partition, offset in positions.items()
            if partition in self._next and offset >= reached.get(partition, 0)
        }
        if mine:
            await self._group.commit(mine)
        return mine

    async def close(self) -> None:
        """See `Subscription.close`."""
        if not self._closed:
            self._closed, self._next = True, {}
            self._group.leave(self)

    async def _take(self, limit: int, exclude: Collection[Partition]) -> list[Record] | None:
        if self._closed:
            return None
        found: list[tuple[Partition, int, list[Record]]] = []
        for partition, offset in list(self._next.items()):
            if limit > 0 and partition not in exclude:
                records = await self._group.logs.read(partition, offset, limit)
                found.append((partition, offset, records))
                limit -= len(records)
        taken = []
        # Nothing is awaited from here on: all are handed over, or none.
        for partition, offset, records in found:
            if records and self._next.get(partition) == offset:
                del self._next[partition]  # to the end of the line
                self._next[partition] = records[-1].offset + 1
                taken += records
        return taken
