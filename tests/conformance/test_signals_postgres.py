"""Hints between processes on one PostgreSQL database: who asks is told, whenever they ask."""

from __future__ import annotations

import asyncio
import os
import signal

import asyncpg
import pytest

from micro.clock import SystemClock
from micro.infra.postgres import Postgres
from micro.store import postgres_signals
from micro.store.postgres import PostgresStore

pytestmark = pytest.mark.live
LIMIT = 60.0


@pytest.fixture
async def pair(postgres_url):
    """Two processes' stores on one database."""
    stores = [PostgresStore(postgres_url, clock=SystemClock()) for _ in range(2)]
    await stores[0].provision()
    yield stores
    for store in stores:
        await store.close()


async def told(sender, name, heard):
    """Send until it is heard: who has just begun to listen may have missed the first."""
    async with asyncio.timeout(LIMIT):
        while not heard.is_set():
            await sender.signal(name)
            await SystemClock().sleep(0.02)


async def test_a_hint_is_heard_by_who_asked_before_the_opening_and_by_who_asked_after(pair):
    early, late, noise = asyncio.Event(), asyncio.Event(), asyncio.Event()
    sender, hearer = pair
    sender.on_signal("noise", noise.set)
    hearer.on_signal("early", early.set)
    for store in pair:
        await store.open()
    await told(sender, "early", early)
    hearer.on_signal("late", late.set)
    await told(sender, "late", late)
    assert not noise.is_set(), "a hint is for others"


async def test_a_connection_that_breaks_is_made_again(pair, postgres_server):
    sender, _ = pair
    heard = asyncio.Event()
    for store in pair:
        store.on_signal("news", heard.set)
        await store.open()
    await told(sender, "news", heard)
    heard.clear()
    admin = await asyncpg.connect(postgres_server.format(service="postgres"))
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN %micro:%news%'"
    assert await admin.fetch(ended)
    await admin.close()
    await told(sender, "news", heard)


@pytest.fixture
async def own_server(tmp_path):
    """A server of this test's own, to do with as it likes."""
    server = Postgres(tmp_path, clock=SystemClock())
    await server.start(lambda text: None)
    yield server
    os.kill(server.pid, signal.SIGCONT)
    await server.stop()


async def test_a_server_that_stands_still_holds_nobody_up_and_is_heard_again(own_server, freeze, monkeypatch):
    """No word comes of it: the connection stays open."""
    monkeypatch.setattr(postgres_signals, "ANSWER_IN", 0.3)
    monkeypatch.setattr(postgres_signals, "BEAT", 0.2)
    url = own_server.url(own_server.record).format(service="tests")
    stores = [PostgresStore(url, clock=SystemClock()) for _ in range(2)]
    await stores[0].provision()
    sender = stores[0]
    heard = asyncio.Event()
    for store in stores:
        store.on_signal("news", heard.set)
        await store.open()
    await told(sender, "news", heard)
    standing = [store._signals._connection for store in stores]
    processes = [connection.get_server_pid() for connection in standing]
    for pid in processes:
        await freeze(pid)
    async with asyncio.timeout(60):
        await sender.signal("news")
        for connection in standing:
            while not connection.is_closed():
                await SystemClock().sleep(0.01)
    heard.clear()
    await told(sender, "news", heard)
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    for store in stores:
        await store.close()


async def test_nobody_who_wants_no_hints_holds_a_connection_for_them(pair):
    store, _ = pair
    await store.open()
    await store.signal("news")
    assert store._signals._task is None
    await store.close()


async def test_closed_while_it_connects_it_leaves_nothing_behind(pair, recwarn):
    store, _ = pair
    store.on_signal("news", lambda: None)
    await store.open()
    await store.close()
    assert not recwarn.list
