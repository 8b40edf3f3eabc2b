"""What micro asks of a message bus: a durable log in partitions, read by groups and by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from micro.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from micro.bus.message import Message, Partition, Record


BESIDE = 15_360
"""Bytes that key and headers may have together beside the largest value that a bus takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusFeatures:
    """What a backend promises. The contract suite tests what is promised and skips the rest by name."""

    ordered_by_key: bool
    groups: bool
    """Members of one group share the partitions; every group gets every record."""
    replays: bool
    """The log can be read again from a position, without a group."""
    survives_restart: bool
    survives_power_loss: bool
    shared_by_processes: bool
    """More than one process may use it at a time."""
    max_bytes: int
    """Largest value of a message, in bytes; key and headers may have `BESIDE` more."""


class Bounds(NamedTuple):
    """The offsets of a partition that can be read: `start` ≤ offset < `end`."""

    start: int
    end: int


class Bus(Backend, Protocol):
    """Takes messages and hands them to groups. All methods may be called concurrently."""

    features: ClassVar[BusFeatures]

    async def publish(self, messages: Sequence[Message]) -> list[Record]:
        """Append all; return them with their places once the bus has them as durably as it promises.

        Messages of one key go to one partition and keep the order of the sequence, and of calls that follow one another.

        Raises `PublishFailed` (with what was acknowledged; per key a prefix), `EventTooLarge`, `BusUnavailable`.
        """
        ...

    async def subscribe(self, group: str, topics: Collection[str]) -> Subscription:
        """Join `group`. A new group starts at the oldest record kept. Topics that do not exist are created."""
        ...


class Subscription(Protocol):
    """One member of a group. Used by one task at a time."""

    async def fetch(self, *, limit: int, wait: float, exclude: Collection[Partition] = ()) -> list[Record]:
        """Up to `limit` records not yet fetched by this member, in order per partition.

        Waits up to `wait` seconds for the first, then returns what there is (perhaps nothing). `exclude` names
        partitions to leave alone this time: that is the back-pressure. After a crash or a close, records past the
        last `commit` are delivered again, to this or another member: delivery is at least once.
        """
        ...

    async def commit(self, positions: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """Store, per partition, the offset to go on from; return what is stored.

        Ignored are partitions in other hands, and those that were meanwhile, where others have come further: a
        position never goes back.
        """
        ...

    def assigned(self) -> frozenset[Partition]:
        """The partitions this member owns now."""
        ...

    async def close(self) -> None:
        """Leave the group. A waiting `fetch` returns an empty list. Idempotent."""
        ...


class Log(Protocol):
    """Reads the log by position; takes part in no group and moves no position. Safe to call concurrently."""

    async def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions."""
        ...

    async def bounds(self, partition: Partition, *, since: float | None = None) -> Bounds:
        """What can be read; with `since` (epoch seconds), `start` is the first record taken at or after it."""
        ...

    async def read(self, partition: Partition, offset: int, *, limit: int, wait: float = 0.0) -> list[Record]:
        """Up to `limit` records from `offset` on; waits up to `wait` seconds while there is none.

        An offset below `Bounds.start` reads from `start` (the log is kept for a limited time).
        """
        ...

    async def positions(self) -> dict[str, dict[Partition, int]]:
        """Per group, the committed position of each partition."""
        ...


class Journal(Protocol):
    """Where the memory backend keeps its log and positions, so that it survives a restart.

    Every method is atomic: all of it is on disk when it returns, or nothing of it.
    """

    async def append(self, records: Sequence[Record]) -> None:
        """Store records. Offsets are the caller's and never repeat."""
        ...

    async def read(
        self, partition: Partition, offset: int, limit: int, *, since: float = 0.0
    ) -> list[Record]:
        """Records of a partition with an offset of at least `offset` and a timestamp of at least `since`, in order."""
        ...

    async def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Store a group's positions."""
        ...

    async def load(self, *, keep_since: float) -> JournalState:
        """Drop records older than `keep_since` (epoch seconds), then say what there is. Also called to trim."""
        ...


@dataclass(frozen=True, slots=True)
class JournalState:
    """What a journal holds: per partition the readable bounds, per group its positions.

    A partition's `end` outlives its records, so offsets never repeat.
    """

    bounds: dict[Partition, Bounds]
    positions: dict[str, dict[Partition, int]]
