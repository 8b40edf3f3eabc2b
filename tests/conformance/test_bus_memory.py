"""The memory bus passes the contract suite, with a journal and without."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from micro.bus.memory import MemoryBus
from micro.clock import SystemClock
from micro.store.journal import SqliteJournal
from micro.testing.bus import BusContract, LogContract

PROMISES = {
    "ordered_by_key": True,
    "groups": True,
    "replays": True,
    "survives_restart": False,
    "survives_power_loss": False,
    "shared_by_processes": False,
    "max_bytes": 1_032_192,
}
"""A weaker promise has to show up here."""


class TestWithoutJournal(BusContract, LogContract):
    @pytest.fixture
    def make(self):
        async def make():
            bus = MemoryBus(clock=SystemClock())
            await bus.open()
            return bus

        return make

    def test_its_promises_are_these(self):
        assert asdict(MemoryBus(clock=SystemClock()).features) == PROMISES


class TestWithJournal(BusContract, LogContract):
    @pytest.fixture
    async def make(self, tmp_path):
        journal = None

        async def make():
            nonlocal journal
            if journal is not None:
                await journal.close()
            journal = SqliteJournal(tmp_path / "bus.db")
            await journal.open()
            bus = MemoryBus(clock=SystemClock(), journal=journal)
            await bus.open()
            return bus

        yield make
        if journal is not None:
            await journal.close()

    def test_its_promises_are_these(self, tmp_path):
        bus = MemoryBus(clock=SystemClock(), journal=SqliteJournal(tmp_path / "bus.db"))
        assert asdict(bus.features) == PROMISES | {"survives_restart": True}
