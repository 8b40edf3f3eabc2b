"""Back ends fit their ports, as type checkers see it. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from micro.bus.memory import MemoryBus
from micro.cache.memory import MemoryCache
from micro.cache.ports import CacheFeatures
from micro.clock import SystemClock
from micro.store.journal import SqliteJournal
from micro.store.sqlite import SqliteStore
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.backend import Backend
    from micro.bus.message import Partition, Record
    from micro.bus.ports import Bus, BusFeatures, Journal, Log
    from micro.cache.ports import Cache, Window
    from micro.clock import Clock
    from micro.store.ports import Store

clock: Clock = FakeClock()
clock = SystemClock()

journal: Journal = SqliteJournal(Path("bus.db"))
store: Store = SqliteStore("sqlite:shop.db", clock=clock)
bus: Bus = MemoryBus("memory:", clock=clock, journal=journal)
log: Log = MemoryBus("memory:", clock=clock)
cache: Cache = MemoryCache("memory:", clock=clock)
window: Window = MemoryCache("memory:", clock=clock)
backends: list[Backend] = [store, bus, cache]


class OwnCache:
    """A third party's cache: nothing to inherit from."""

    features: ClassVar = CacheFeatures(shared_by_processes=False, bounded=True, survives_restart=False)

    def __init__(self, url: str, *, clock: Clock) -> None:
        self.url, self.clock = url, clock

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def get(self, key: str) -> bytes | None:
        return None

    async def set(self, key: str, value: bytes, *, ttl: float) -> None: ...
    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        return True

    async def delete(self, key: str) -> None: ...


class Forgetful:
    """Something that is not a log: `read` lacks the wait."""

    features: ClassVar[BusFeatures]

    async def read(self, partition: Partition, offset: int, *, limit: int) -> Sequence[Record]:
        return []


own: Cache = OwnCache("own:", clock=clock)
not_a_log: Log = Forgetful()  # type: ignore[assignment] # it misses methods
