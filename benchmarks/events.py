"""From commit to handler, and events through outbox, relay, log and inbox, in one process on SQLite."""

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from micro import Event, Service
from micro.bus.events import Events
from micro.bus.memory import MemoryBus
from micro.bus.migrations import FOLDER
from micro.clock import SystemClock
from micro.service import Transaction
from micro.store.journal import SqliteJournal
from micro.store.migrate import load_migrations, migrate
from micro.store.sqlite import SqliteStore

SINGLE = 500
MANY = 20_000
BATCH = 20


class Measured(Event, topic="measure.events"):
    """One event; says when its transaction was about to commit."""

    at: float


def services() -> tuple[Service, Service, asyncio.Queue]:
    """A publisher, and a subscriber whose handler writes a row and notes the time."""
    arrivals: asyncio.Queue = asyncio.Queue()
    source = Service("source", publishes=[Measured])
    sink = Service("sink")

    @sink.on("Measured", topic=Measured.topic)
    async def handle(event, tx):
        await tx.execute("insert into seen (id) values (?)", event.id)
        arrivals.put_nowait(time.perf_counter() - event.data["at"])

    return source, sink, arrivals


@asynccontextmanager
async def running(folder: Path, bus: MemoryBus, service: Service):
    """A service's store and event machinery."""
    clock = SystemClock()
    store = SqliteStore(f"sqlite:{folder / service.name}.db", clock=clock)
    await store.open()
    try:
        await migrate(store, load_migrations(FOLDER, store.dialect), namespace="micro", clock=clock)
        async with store.transaction() as tx:
            await tx.script("create table if not exists seen (id text primary key)")
        events = Events(service, store=store, bus=bus, clock=clock, owner="benchmark")
        task = asyncio.create_task(events.run())
        yield store, events
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    finally:
        await store.close()


async def publish(store, events: Events, count: int) -> None:
    """One transaction that emits `count` events of different keys."""
    async with store.transaction() as raw:
        tx = Transaction(raw, events.outbox)
        for number in range(count):
            tx.emit(Measured(at=time.perf_counter()), key=str(number))
    events.outbox.wake()


async def measure(folder: Path) -> tuple[list[float], float]:
    """Latencies of single events in seconds, and the rate of many."""
    clock = SystemClock()
    source, sink, arrivals = services()
    async with AsyncExitStack() as stack:
        journal = SqliteJournal(folder / "bus.db")
        await journal.open()
        stack.push_async_callback(journal.close)
        bus = MemoryBus("memory:", clock=clock, journal=journal)
        await bus.open()
        stack.push_async_callback(bus.close)
        store, events = await stack.enter_async_context(running(folder, bus, source))
        await stack.enter_async_context(running(folder, bus, sink))
        latencies = []
        for _ in range(SINGLE):
            await publish(store, events, 1)
            latencies.append(await arrivals.get())
            await asyncio.sleep(0.002)  # idle again
        started = time.perf_counter()
        for _ in range(MANY // BATCH):
            await publish(store, events, BATCH)
        for _ in range(MANY):
            await arrivals.get()
        return latencies[50:], MANY / (time.perf_counter() - started)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        latencies, rate = uvloop.run(measure(Path(name)))
    quantiles = statistics.quantiles(latencies, n=100)
    print(
        f"commit to handler, idle, median      {statistics.median(latencies) * 1000:6.2f} ms   (goal: at most 2)"
    )
    print(f"commit to handler, idle, 99th        {quantiles[98] * 1000:6.2f} ms")
    print(f"events per second, end to end        {rate:6.0f}")


if __name__ == "__main__":
    main()
