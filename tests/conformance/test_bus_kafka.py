"""Kafka keeps the contracts of the bus and of the log."""

from __future__ import annotations

import pytest

from micro.bus.kafka import KafkaBus
from micro.clock import SystemClock
from micro.testing import BusContract, LogContract

pytestmark = pytest.mark.live


class TestKafka(BusContract, LogContract):
    silence = 1.0

    @pytest.fixture
    async def make(self, kafka_server):
        async def make():
            bus = KafkaBus(f"{kafka_server}&partitions=12", clock=SystemClock())
            await bus.open()
            return bus

        return make
