"""What each backend promises. A promise that changes is seen here, in the diff."""

from __future__ import annotations

import dataclasses

import pytest

from micro.cache.memory import MemoryCache
from micro.store.sqlite import SqliteStore

PROMISES = {
    SqliteStore: {
        "concurrent_writers": False,
        "survives_power_loss": False,
        "shared_by_processes": False,
    },
    MemoryCache: {
        "shared_by_processes": False,
        "bounded": True,
        "survives_restart": False,
    },
}


@pytest.mark.parametrize("backend", PROMISES, ids=lambda backend: backend.__name__)
def test_a_backend_promises_exactly_what_is_written_here(backend):
    assert dataclasses.asdict(backend.features) == PROMISES[backend]
