"""Hints between processes on one PostgreSQL database: who asks is told, whenever they ask."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from micro.clock import SystemClock
from micro.store.postgres import PostgresStore

pytestmark = pytest.mark.live
LIMIT = 20.0


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
