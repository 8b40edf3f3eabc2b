"""From the moment at which a transaction is due to the handler in another process: outbox, relay, Kafka, inbox.

An open loop of 200 events/s: each is due at its time whether or not those before have come, and is counted from then on,
so a stall costs every event that it holds up. The transaction and its commit are in the figure. Goals: median at most
10 ms, 99th percentile at most 33 ms.
"""

import asyncio
import multiprocessing
import statistics
import time

import uvloop

from benchmarks.prod.events import opened, working
from benchmarks.prod.servers import servers
from micro import Event, Service
from micro.service import Transaction

RATE = 200
WARM_UP = 3 * RATE
COUNTED = 30 * RATE


class Due(Event, topic="due.events"):
    """Says when its transaction was due, on the clock that all processes of a machine share."""

    number: int
    at: float


async def handle_all(variables: dict[str, str], seen) -> None:
    """The subscriber: tell what each event took."""
    service, taken, done = Service("sink"), [], asyncio.Event()

    @service.on("Due", topic=Due.topic)
    async def handle(event, tx):
        if event.data["number"] >= WARM_UP:
            taken.append(time.monotonic() - event.data["at"])
        await tx.execute("insert into seen (id, number) values (?, ?)", event.id, event.data["number"])
        if len(taken) == COUNTED:
            done.set()

    async with opened(variables, "sink") as (bus, store):
        async with store.transaction() as tx:
            await tx.script("create table seen (id text primary key, number bigint not null)")
        async with working(service, bus, store) as events:
            while not events.consumer.consuming:
                await asyncio.sleep(0.01)
            seen.send("ready")
            await done.wait()
    seen.send(taken)


def subscriber(variables: dict[str, str], seen) -> None:
    """Its process."""
    uvloop.run(handle_all(variables, seen))


async def emit_all(variables: dict[str, str]) -> None:
    """The publisher: one transaction with a row and an event every 5 ms."""
    service = Service("source", publishes=[Due])
    async with opened(variables, "source") as (bus, store):
        async with store.transaction() as tx:
            await tx.script("create table thing (number bigint primary key)")
        async with working(service, bus, store) as events, asyncio.TaskGroup() as group:

            async def emit(number: int, due: float) -> None:
                async with store.transaction() as raw:
                    tx = Transaction(raw, events.outbox)
                    await tx.execute("insert into thing (number) values (?)", number)
                    tx.emit(Due(number=number, at=due), key=f"thing-{number % 100}")
                events.outbox.wake()

            started = time.monotonic()
            for number in range(WARM_UP + COUNTED):
                due = started + number / RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(emit(number, due))


def main() -> None:
    """Print the figures."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with servers("store", "bus") as variables:
        process = spawn.Process(target=subscriber, args=(variables, theirs))
        process.start()
        try:
            ours.recv()
            uvloop.run(emit_all(variables))
            taken = sorted(ours.recv())
        finally:
            process.join(10)
            process.kill()
    quantiles = statistics.quantiles(taken, n=1000)
    print(f"due to handler at {RATE}/s, median   {quantiles[499] * 1000:6.1f} ms   (goal: at most 10)")
    print(f"due to handler at {RATE}/s, 99th     {quantiles[989] * 1000:6.1f} ms   (goal: at most 33)")
    print(f"due to handler at {RATE}/s, 99.9th   {quantiles[998] * 1000:6.1f} ms")
    print(f"due to handler at {RATE}/s, longest  {taken[-1] * 1000:6.1f} ms")


if __name__ == "__main__":
    main()
