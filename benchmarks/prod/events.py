"""What the measurements of events share: a service on PostgreSQL and Kafka, and where the processor's time goes."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psutil

from micro import Service
from micro.bus.events import Events
from micro.bus.kafka import KafkaBus
from micro.bus.migrations import FOLDER
from micro.clock import SystemClock
from micro.ids import new_id
from micro.store.migrate import load_migrations, migrate
from micro.store.postgres import PostgresStore

CLOCK = SystemClock()


@asynccontextmanager
async def opened(variables: dict[str, str], name: str):
    """The bus, and the store of the service called `name`, migrated."""
    bus = KafkaBus(variables["MICRO_BUS"], clock=CLOCK)
    store = PostgresStore(variables["MICRO_STORE"].format(service=name), clock=CLOCK)
    await store.provision()
    await store.open()
    try:
        await bus.open()
        await migrate(store, load_migrations(FOLDER, store.dialect), namespace="micro", clock=CLOCK)
        yield bus, store
    finally:
        await bus.close()
        await store.close()


@asynccontextmanager
async def working(service: Service, bus: KafkaBus, store: PostgresStore):
    """A service's events, with all that a process of `micro up --prod` does for them."""
    events = Events(service, store=store, bus=bus, clock=CLOCK, owner=new_id(CLOCK))
    task = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        await events.drain(10.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Processor:
    """Seconds of processor time: ours, PostgreSQL's, Kafka's."""

    def __init__(self, variables: dict[str, str]) -> None:
        listening = {
            each.laddr.port: each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN"
        }
        servers = (_port(variables[name]) for name in ("MICRO_STORE", "MICRO_BUS"))
        self._processes = [psutil.Process(), *(psutil.Process(listening[port]) for port in servers)]
        self._before = self._now()

    def spent(self) -> list[float]:
        """Since this was made."""
        return [after - before for before, after in zip(self._before, self._now(), strict=True)]

    def line(self, count: int) -> str:
        """Microseconds for each of `count` events."""
        each = [seconds / count * 1e6 for seconds in self.spent()]
        names = ("ours", "PostgreSQL", "Kafka")
        parts = ", ".join(f"{name} {spent:.0f}" for name, spent in zip(names, each, strict=True))
        return f"processor, µs an event {sum(each):6.0f}   ({parts})"

    def _now(self) -> list[float]:
        ours, *servers = self._processes
        return [_seconds([ours]), *(_seconds([each, *each.children()]) for each in servers)]


def _port(url: str) -> int:
    return urlsplit(url.replace("{service}", "")).port


def _seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)
