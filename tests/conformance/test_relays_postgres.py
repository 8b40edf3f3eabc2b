"""Several processes on one PostgreSQL database share its outbox: every event leaves once, per key in order, at once."""

from __future__ import annotations

import asyncio

import pytest

from micro.bus import migrations
from micro.bus.memory import MemoryBus
from micro.bus.message import Event, Partition
from micro.bus.outbox import Outbox
from micro.bus.relay import Relay
from micro.clock import SystemClock
from micro.store.migrate import load_migrations, migrate
from micro.store.postgres import PostgresStore
from micro.testing import FakeClock

pytestmark = pytest.mark.live

KEYS = [f"key{number}" for number in range(40)]


class Counted(Event, topic="count.events"):
    n: int


class Process:
    """What one process has: a store, an outbox and a relay."""

    def __init__(self, url, bus, clock=None, name="one"):
        self.clock = clock or SystemClock()
        self.store = PostgresStore(url, clock=self.clock)
        self.outbox = Outbox("counter", clock=self.clock, max_bytes=1_000_000, publishes=[Counted])
        self.relay = Relay(self.store, bus, outbox=self.outbox, clock=self.clock, owner=name)

    async def emit(self, n):
        async with self.store.transaction() as tx:
            for key in KEYS:
                self.outbox.add(tx, Counted(n=n), key)
        self.outbox.wake()


@pytest.fixture
async def bus():
    bus = MemoryBus(clock=SystemClock())
    await bus.open()
    yield bus
    await bus.close()


@pytest.fixture
async def processes(postgres_url, bus):
    one, other = Process(postgres_url, bus), Process(postgres_url, bus, name="other")
    await one.store.provision()
    for process in (one, other):
        await process.store.open()
    steps = load_migrations(migrations.FOLDER, "postgresql")
    await migrate(one.store, steps, namespace="micro", clock=one.clock)
    yield one, other
    for process in (one, other):
        await process.store.close()


async def published(bus):
    found = []
    for topic, count in (await bus.topics()).items():
        for number in range(count):
            found += await bus.read(Partition(topic, number), 0, limit=10_000)
    return found


async def until_published(bus, count):
    async with asyncio.timeout(60):
        while len(found := await published(bus)) < count:
            await SystemClock().sleep(0.01)
    return found


async def test_a_hint_reaches_the_other_processes_and_not_the_one_that_gave_it(postgres_url):
    clock = SystemClock()
    stores = [PostgresStore(postgres_url, clock=clock) for _ in range(3)]
    await stores[0].provision()
    heard = [asyncio.Event() for _ in stores]
    for store, event in zip(stores, heard, strict=True):
        store.on_signal("news", event.set)
        store.on_signal("other news", lambda: pytest.fail("another name"))
        await store.open()
    async with asyncio.timeout(60):
        while not (heard[1].is_set() and heard[2].is_set()):
            await stores[0].signal("news")
            await clock.sleep(0.01)
    assert not heard[0].is_set()
    for store in stores:
        await store.close()
    await stores[0].signal("after the end")


async def test_two_relays_send_everything_once_and_in_order(processes, bus):
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(process.relay.run()) for process in processes]
        for n in range(20):
            await processes[n % 2].emit(n)
        records = await until_published(bus, 20 * len(KEYS))
        for process in processes:
            await process.relay.drained()
        for task in running:
            task.cancel()
    assert len(await published(bus)) == len(records) == 20 * len(KEYS)
    for key in KEYS:
        values = [record.message.value for record in records if record.message.key == key]
        assert [b'"n":%d}' % n in value for n, value in enumerate(values)] == [True] * 20


async def test_an_event_in_another_relay_s_bucket_leaves_by_a_hint(processes, bus, postgres_url):
    """The clocks of both relays stand still, so neither ever looks by itself."""
    holder, guest = (Process(postgres_url, bus, FakeClock(seed=seed), name=str(seed)) for seed in range(2))
    hears = asyncio.Event()
    holder.store.on_signal("hello", hears.set)
    for process in (holder, guest):
        await process.store.open()
    async with asyncio.timeout(60):
        while not hears.is_set():
            await guest.store.signal("hello")
            await SystemClock().sleep(0.01)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(holder.relay.run())]
        await holder.emit(0)
        await until_published(bus, len(KEYS))
        running.append(group.create_task(guest.relay.run()))
        await guest.emit(1)
        await until_published(bus, 2 * len(KEYS))
        for task in running:
            task.cancel()
    assert guest.relay.rate == 0, "the holder sent them"
    for process in (holder, guest):
        await process.store.close()
