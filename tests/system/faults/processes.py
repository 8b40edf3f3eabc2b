"""Faults of the stack's own processes: killed, stopped, blocked, replaced."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial

from faults.points import LEASE, SESSION

from micro.bus.kafka import KafkaBus
from micro.bus.outbox import Outbox
from micro.bus.relay import Relay
from micro.runtime.multi.children import KILL_AFTER
from micro.store.postgres import PostgresStore

CRASH_POINTS = {
    "before commit": "source.before_commit",
    "after commit, before send": "source.before_send",
    "after send, before acknowledgement": "source.after_send",
    "after acknowledgement, before mark": "source.before_mark",
    "after handler, before inbox commit": "first.after_handler",
    "after inbox commit, before offset commit": "second.before_position",
}
"""F1, with the name of the point for each."""
STOP_POINTS = {
    "a relay that is about to send": "source.before_send",
    "a consumer with a transaction open": "first.after_handler",
    "a consumer with events in hand": "second.after_fetch",
}
"""F3, likewise."""


def kill_at(world, load, *, point):
    """Whoever gets there, and again in the long form."""
    for _ in range(world.pick(1, 3)):
        world.rest(world.pick(0.1, 3.0))
        world.arm(point)
        world.hit(point)


def kill_again_and_again(world, load):
    """Any instance, and the gateway."""
    for _ in range(world.pick(4, 20)):
        world.rest(world.pick(0.4, 2.0))
        pids = world.pids()
        with suppress(ProcessLookupError):
            os.kill(pids[world.clock.randbits(16) % len(pids)], signal.SIGKILL)


def kill_everything(world, load):
    """All processes at once, the supervisor too."""
    for _ in range(world.pick(1, 3)):
        world.kill_all()
        world.up()
        world.rest(world.pick(0, 5))


def stop_and_continue(world, load, *, points):
    """Whoever gets there stands still for longer than anybody waits for it, and then goes on where it was."""
    for point in points:
        world.arm(point, "stop")
    stopped = [world.hit(point) for point in points]
    world.rest(world.pick(max(LEASE, SESSION) + 1.0, 25.0))
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


def rebalance(world, load):
    """Members come and go while handlers run, while events are tried again, and while an instance stops."""
    for _ in range(world.pick(1, 4)):
        world.arm("first.after_handler", "wait 1")
        world.hit("first.after_handler")
        world.stack.ask("scale", service="first", count=3)
        world.arm("second.after_handler", "wait 1")
        world.hit("second.after_handler")
        world.stack.ask("restart", service="second")
        world.stack.ask("scale", service="first", count=2)


def block(world, load):
    """A consumer's event loop stands still with events in hand."""
    world.arm("first.after_fetch", f"block {world.pick(SESSION + 2, 40):g}")
    world.hit("first.after_fetch")
    world.rest(world.pick(SESSION + 2, 40))


def claim_twice(world, load):
    """Another relay claims buckets, and sends, while those that hold them are sure that they are their own."""

    async def intrude():
        store = PostgresStore(world.database("source"), clock=world.clock)
        bus = KafkaBus(world.bus_url, clock=world.clock)
        await store.open()
        await bus.open()
        try:
            return sum([await intrude_once(store, bus) for _ in range(world.pick(3, 20))])
        finally:
            await bus.close()
            await store.close()

    async def intrude_once(store, bus):
        outbox = Outbox("source", clock=world.clock, max_bytes=bus.features.max_bytes, publishes=())
        relay = Relay(store, bus, outbox=outbox, clock=world.clock, owner="intruder")
        async with store.transaction() as tx:
            await tx.execute("update micro_lease set expires_at = 0")
        sending = asyncio.create_task(relay.run())
        await world.clock.sleep(1)
        sent = relay.rate
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await relay.release()
        return sent

    assert asyncio.run(intrude()), "the intruder has sent something"


def outlive_the_grace_time(world, load):
    """A service is replaced, and then the whole stack stopped, each while a handler takes longer than it may."""
    took = []
    for _ in range(world.pick(1, 2)):
        for end in (partial(world.stack.ask, "restart", service="first"), world.stack.stop):
            world.arm("first.after_handler", "wait 60")
            world.hit("first.after_handler")
            began = world.clock.monotonic()
            end()
            took.append(world.clock.monotonic() - began)
        world.up()
    assert max(took) < 2 * KILL_AFTER, "I11: it ends inside the grace time"
    return f"ended in {max(took):.1f} s"
