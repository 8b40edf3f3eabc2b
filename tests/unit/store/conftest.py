"""An SQLite store, and hands on its threads."""

from __future__ import annotations

import threading

import pytest

from micro.clock import SystemClock
from micro.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "it.db"


@pytest.fixture
async def store(path):
    store = SqliteStore(f"sqlite:{path}", clock=SystemClock())
    await store.open()
    async with store.transaction() as tx:
        await tx.script("create table item (id text primary key, n integer not null default 0) strict")
    yield store
    await store.close()


class Gate:
    """Holds a thread of the store at a point of the test's choosing."""

    def __init__(self, loop):
        self._loop = loop
        self._open = threading.Event()
        self._reached = threading.Event()

    def wait(self, *_):
        """Called on the thread."""
        self._reached.set()
        assert self._open.wait(60)
        return 0

    async def reached(self):
        assert await self._loop.run_in_executor(None, self._reached.wait, 20)

    def open(self):
        self._open.set()


@pytest.fixture
async def gate():
    import asyncio

    gate = Gate(asyncio.get_running_loop())
    yield gate
    gate.open()
