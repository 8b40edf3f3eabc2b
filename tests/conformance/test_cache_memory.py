"""The memory cache keeps the contracts of the cache and of the rate limit window."""

from __future__ import annotations

import pytest

from micro.cache.memory import MemoryCache
from micro.testing import CacheContract, WindowContract


class TestMemory(CacheContract, WindowContract):
    @pytest.fixture
    def make(self, clock):
        return lambda: MemoryCache("memory:", clock=clock)
