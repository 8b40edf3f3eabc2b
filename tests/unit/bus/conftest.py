"""A small world: a service that emits, one that consumes, and a bus between, on real files."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack

import pytest

from micro.bus import migrations
from micro.bus.codec import decode
from micro.bus.events import Events
from micro.bus.memory import MemoryBus
from micro.bus.message import Event, Partition
from micro.bus.outbox import Outbox
from micro.bus.subscriber import Subscriber
from micro.service import Service, Transaction
from micro.store.journal import SqliteJournal
from micro.store.migrate import load_migrations, migrate
from micro.testing import FakeClock
from micro.testing.faults import FaultyBus, FaultyJournal, FaultyStore

DEADLINE = 60.0


class OrderPlaced(Event, topic="order.events", version=1):
    n: int


@pytest.fixture
def clock():
    return FakeClock()


async def _until(check, clock, *, step=0.05):
    """Let fake time pass until `check` holds, and answer what it said."""
    async with asyncio.timeout(DEADLINE):
        while True:
            said = check()
            if inspect.isawaitable(said):
                said = await said
            if said:
                return said
            await clock.advance(step)


@pytest.fixture
def until(clock):
    return lambda check, **options: _until(check, clock, **options)


@pytest.fixture
def open_store(open_database, clock):
    """Open and migrate a service's database; the same name is the same database."""

    async def open_store(name="shop"):
        store = await open_database(name, clock)
        own = load_migrations(migrations.FOLDER, store.dialect)
        await migrate(store, own, namespace="micro", clock=clock)
        return store

    return open_store


@pytest.fixture
async def store(open_store):
    return await open_store()


@pytest.fixture
async def bus(clock):
    bus = MemoryBus(clock=clock)
    await bus.open()
    yield bus
    await bus.close()


@pytest.fixture
def outbox(clock):
    return Outbox("shop", clock=clock, max_bytes=1_000_000, publishes=[OrderPlaced])


@pytest.fixture
def placed():
    """The event type of these tests."""
    return OrderPlaced


@pytest.fixture
def emit(store, outbox, placed):
    """Commits one event per key given, in one transaction, numbered from `n` on; answers their ids."""

    async def emit(*keys, n=0):
        async with store.transaction() as tx:
            ids = [outbox.add(tx, placed(n=n + index), key) for index, key in enumerate(keys)]
        outbox.wake()
        return ids

    return emit


@pytest.fixture
def subscriber_of(clock, outbox, store):
    """A subscriber with one handler for `OrderPlaced`: `subscriber_of(handle, retry=…)`."""

    def subscriber_of(handle, *, name="crm", time_limit=30.0, type="OrderPlaced", **options):
        service = Service(name)
        service.on(type, topic="order.events", **options)(handle)
        return Subscriber(
            name, service.handlers, store=store, outbox=outbox, clock=clock, time_limit=time_limit
        )

    return subscriber_of


class World:
    """`shop` emits, `crm` writes down what it is handed. `at` is called at every point of every port.

    What `crm` applied is a table without constraints: a second application would be a second row.
    """

    def __init__(self, folder, clock, open_store, spelled):
        self.clock = clock
        self._open_store = open_store
        self._spelled = spelled
        self.at = lambda point: None
        self.fails = lambda event: None
        self.crm = Service("crm")
        self.crm.on("OrderPlaced", topic="order.events")(self._handle)
        self.shop = Service("shop", publishes=[OrderPlaced])
        self._folder = folder
        self._stack = AsyncExitStack()
        self._runs = []
        self._gone = asyncio.Event()

    async def hang(self):
        """At a point: go no further, whatever happens, until this world is closed."""
        await self._gone.wait()
        raise RuntimeError("killed")

    async def _handle(self, event, tx):
        self.fails(event)
        await tx.execute(
            "insert into applied (id, key, n) values (?, ?, ?)", event.id, event.key, event.data["n"]
        )

    async def open(self):
        journal = SqliteJournal(self._folder / "bus.db")
        await journal.open()
        self._stack.push_async_callback(journal.close)
        memory = MemoryBus(clock=self.clock, journal=FaultyJournal(journal, self._reach))
        self.bus = FaultyBus(memory, self._reach)
        await self.bus.open()
        self._stack.push_async_callback(self.bus.close)
        self.shop_store = await self._store("shop", "placed")
        self.crm_store = await self._store("crm", "applied")
        self.emitting = self._events(self.shop, self.shop_store)
        self.consuming = self._events(self.crm, self.crm_store)
        return self

    async def _store(self, name, table):
        inner = await self._open_store(name)
        self._stack.push_async_callback(inner.close)
        async with inner.transaction() as tx:
            columns = "seq integer primary key, id text, key text, n integer"
            await tx.script(self._spelled(f"create table if not exists {table} ({columns}) strict", inner))
        return FaultyStore(inner, self._reach)

    def _events(self, service, store):
        return Events(service, store=store, bus=self.bus, clock=self.clock, owner="test")

    def _reach(self, point):
        return self.at(point)

    def start(self):
        self._runs = [asyncio.create_task(events.run()) for events in (self.emitting, self.consuming)]

    async def close(self):
        """End at once, as if killed but for what a task does when it is cancelled."""
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        self._gone.set()
        await self._stack.aclose()

    async def emit(self, *keys, n):
        """State and events of one transaction."""
        async with self.shop_store.transaction() as raw:
            tx = Transaction(raw, self.emitting.outbox)
            for index, key in enumerate(keys):
                id = tx.emit(OrderPlaced(n=n + index), key=key)
                await tx.execute("insert into placed (id, key, n) values (?, ?, ?)", id, key, n + index)
        self.emitting.outbox.wake()

    async def placed(self):
        """What was committed: (id, key, n), in the order of the commits."""
        return [
            tuple(row) for row in await self.shop_store.query("select id, key, n from placed order by seq")
        ]

    async def applied(self):
        """What was applied: (id, key, n), in order."""
        return [
            tuple(row) for row in await self.crm_store.query("select id, key, n from applied order by seq")
        ]

    async def on_the_wire(self):
        """Ids in the log, as often as they are there."""
        records = []
        for number in range((await self.bus.topics()).get("order.events", 0)):
            records += await self.bus.read(Partition("order.events", number), 0, limit=10_000)
        return [decode(record).id for record in records]


@pytest.fixture
async def world(tmp_path, clock, open_store, spelled):
    """Open a world on this test's folder; called again, the former is closed and the files are opened again."""
    worlds = []

    async def world():
        if worlds:
            await worlds[-1].close()
        worlds.append(World(tmp_path, clock, open_store, spelled))
        return await worlds[-1].open()

    yield world
    for each in worlds:
        await each.close()
