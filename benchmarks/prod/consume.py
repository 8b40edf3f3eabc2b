"""How fast a service applies what waits for it: from Kafka, through the inbox, into PostgreSQL. Goal: 8,000 events/s."""

import asyncio
import time

import uvloop

from benchmarks.prod.events import CLOCK, Processor, opened, working
from benchmarks.prod.servers import servers
from micro import Event, Service
from micro.bus.codec import encode
from micro.bus.kafka import KafkaBus
from micro.bus.origin import Origin

GOAL = 8000
MANY = 150_000
KEYS = 10_000
AT_ONCE = 2000
PAYLOAD = {
    "title": "Write the report",
    "owner": "0198c0de-0000-7000-8000-00000000ada1",
    "priority": 3,
    "done": False,
}


class Ordered(Event, topic="order.events"):
    """Something of an ordinary size: half a kilobyte on the wire."""

    number: int
    title: str
    owner: str
    priority: int
    done: bool


async def fill(bus: KafkaBus) -> None:
    """Put the events where the consumer finds them."""
    origin = Origin("shop", CLOCK)
    for start in range(0, MANY, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        events = [
            origin.of(Ordered(number=number, **PAYLOAD), f"order-{number % KEYS}") for number in numbers
        ]
        await bus.publish([encode(event) for event in events])


async def measure(variables: dict[str, str]) -> None:
    """Print the figures."""
    counted = 0
    service = Service("sink")
    done = asyncio.Event()

    @service.on("Ordered", topic=Ordered.topic)
    async def handle(event, tx):
        nonlocal counted
        await tx.execute("insert into seen (id, number) values (?, ?)", event.id, event.data["number"])
        counted += 1
        if counted >= MANY:
            done.set()

    async with opened(variables, "sink") as (bus, store):
        await fill(bus)
        async with store.transaction() as tx:
            await tx.script("create table seen (id text primary key, number bigint not null)")
        processor, started = Processor(variables), time.perf_counter()
        async with working(service, bus, store):
            await done.wait()
            while await missing(store):
                await asyncio.sleep(0.01)
            seconds = time.perf_counter() - started
            print(f"consumed, events/s      {MANY / seconds:6.0f}   (goal: at least {GOAL})")
            print(processor.line(MANY))


async def missing(store) -> int:
    """How many events have no committed effect."""
    [row] = await store.query("select count(*) from seen")
    return MANY - row[0]


def main() -> None:
    """Print the figures."""
    with servers("store", "bus") as variables:
        uvloop.run(measure(variables))


if __name__ == "__main__":
    main()
