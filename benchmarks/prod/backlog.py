"""What a relay sends from an outbox with a million rows in it, beside what it sends from an almost empty one."""

import asyncio
import time

import uvloop

from benchmarks.prod.events import CLOCK, Processor, opened
from benchmarks.prod.servers import servers
from micro import Event
from micro.bus.codec import encode
from micro.bus.origin import Origin
from micro.bus.outbox import BUCKETS, Outbox, pack_headers
from micro.bus.relay import Relay

GOAL = 0.9
BEHIND = 1_000_000
SENT = 30_000
WARM_UP = 3000

FILL = """
insert into micro_outbox (bucket, topic, key, value, headers, created_at)
select number % ?, ?, 'thing-' || number % 10000, ?, ?, 0.0 from generate_series(1, ?) as number
"""


class Waited(Event, topic="waited.events"):
    """Something of an ordinary size."""

    title: str
    owner: str


async def fill(store, count: int) -> None:
    """Put `count` events into the outbox."""
    event = Origin("source", CLOCK).of(Waited(title="Write the report", owner="ada"), "thing")
    message = encode(event)
    async with store.transaction(timeout=300.0) as tx:
        await tx.execute(FILL, BUCKETS, message.topic, message.value, pack_headers(message.headers), count)


async def rate(relay: Relay, outbox: Outbox, store, count: int) -> float:
    """Events per second while the relay sends `count` of what there is."""
    first = await lowest(store)
    outbox.look()
    started = time.perf_counter()
    task = asyncio.create_task(relay.run())
    while await lowest(store) < first + count:
        await asyncio.sleep(0.02)
    seconds, sent = time.perf_counter() - started, await lowest(store) - first
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return sent / seconds


async def lowest(store) -> int:
    """The first row's number, or what the next will have."""
    [row] = await store.query(
        "select coalesce((select min(seq) from micro_outbox), (select last_value + 1 from micro_outbox_seq_seq))"
    )
    return row[0]


async def measure(variables: dict[str, str]) -> None:
    """Print the figures."""
    async with opened(variables, "source") as (bus, store):
        outbox = Outbox("source", clock=CLOCK, max_bytes=bus.features.max_bytes, publishes=[Waited])
        relay = Relay(store, bus, outbox=outbox, clock=CLOCK, owner="benchmark")

        async def sending(count: int, what: str) -> float:
            processor = Processor(variables)
            found = await rate(relay, outbox, store, count)
            print(f"{what:<34} {found:8.0f} events/s")
            print(processor.line(count))
            return found

        await fill(store, WARM_UP)
        await rate(relay, outbox, store, WARM_UP)
        await fill(store, SENT)
        empty = await sending(SENT, "relay, nothing behind")
        await fill(store, BEHIND)
        full = await sending(SENT, f"relay, {BEHIND:,} behind")
        print(f"part of it {full / empty:.2f}  (goal: at least {GOAL})")


def main() -> None:
    """Print the figures."""
    with servers("store", "bus") as variables:
        uvloop.run(measure(variables))


if __name__ == "__main__":
    main()
