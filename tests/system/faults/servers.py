"""Faults of the servers, of the links to them, and of the disk."""

from __future__ import annotations

import asyncio
import http.client
import resource
import threading
from contextlib import contextmanager, suppress

import asyncpg
from ledger.services import Entered

from micro.bus.codec import encode
from micro.bus.origin import Origin
from micro.bus.outbox import bucket_of, pack_headers

HANG_UP = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
OUTBOX = "insert into micro_outbox (bucket, topic, key, value, headers, created_at) values ($1, $2, $3, $4, $5, $6)"
ENTRY = "insert into entry (event_id, request, type, key, nth) values ($1, 'late', 'Entered', $2, 1)"
REFUSE = """
create function refuse() returns trigger language plpgsql as
$$ begin raise exception 'a fault' using errcode = '{code}'; end $$
"""
AT = "create trigger refuse before insert or update or delete on {table} for each statement execute function refuse()"
CAN_LIMIT = hasattr(resource, "prlimit")
TABLES = {
    "source": ("micro_outbox", "entry"),
    "first": ("micro_inbox", "applied"),
    "second": ("micro_inbox", "micro_outbox", "applied"),
}


def restart_postgres(world, load):
    """Stopped as an administrator does it, and by kill -9."""
    chance = world.clock.randbits
    for number in range(world.pick(2, 6)):
        (world.kill if number % 2 else world.stop)(world.postgres)
        world.rest(0.2 if world.hurry else chance(10) / 200)
        world.start(world.postgres)
        world.rest(0.3 if world.hurry else 5 + chance(10) / 100)


def terminate_backends(world, load):
    """The server ends every connection of micro's, again and again."""
    for _ in range(world.pick(4, 60)):
        world.query("source", HANG_UP)
        world.rest(0.3)


def exhaust_pools(world, load):
    """Requests hold more connections than there are, for as long as they like."""
    hold = world.pick(2, 20)

    def ask(number):
        connection = http.client.HTTPConnection(world.gateway, timeout=60)
        load.enter(connection, f"{load.name}.held.{number}", number, hold=hold)
        connection.close()

    held = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in held:
        thread.start()
    for thread in held:
        thread.join()


def restart_kafka(world, load):
    """The broker, which is also leader and coordinator of everything, by kill -9."""
    for away in world.pick((0,), (3, 25, 3)):
        world.kill(world.kafka)
        world.rest(away)
        world.start(world.kafka)
        world.rest(world.pick(0, 5))


def reset_links(world, load):
    """Every connection to the broker ends with a reset, again and again."""
    for _ in range(world.pick(4, 40)):
        world.link.reset()
        world.rest(0.5)


def slow_link(world, load):
    """Whatever goes to or comes from the broker takes a fifth of a second longer."""
    world.link.delay = 0.2
    world.rest(world.pick(2, 30))
    world.link.delay = 0.0


def cut_link(world, load):
    """Nothing reaches the broker, and nobody says so."""
    world.link.cut()
    world.rest(world.pick(4, 25))
    world.link.mend()


def idle_in_transaction(world, load):
    """Somebody else's transaction has written to the outbox, rests, and commits in the end."""
    key = f"{load.name}.late"
    event = Origin("source", world.clock).of(Entered(request="late", flaky=0), key)
    message = encode(event)

    async def rest():
        connection = await asyncpg.connect(world.database("source"))
        try:
            async with connection.transaction():
                row = (
                    bucket_of(key),
                    message.topic,
                    key,
                    message.value,
                    pack_headers(message.headers),
                    world.now(),
                )
                await connection.execute(OUTBOX, *row)
                await connection.execute(ENTRY, event.id, key)
                await world.clock.sleep(world.pick(2, 60))
        finally:
            await connection.close()

    asyncio.run(rest())


def full_disk(world, load):
    """No file of a process of micro's may grow, and the databases say that their disk is full."""
    with limited([*world.pids(), world.stack.pid]):
        refuse(world, "53100")


def read_only(world, load):
    """The databases take no writes, as one does that another has taken over from."""
    refuse(world, "25006")


def refuse(world, code):
    """Every write of an event's way is refused with that code for a while."""
    for service, tables in TABLES.items():
        world.query(service, REFUSE.format(code=code))
        for table in tables:
            world.query(service, AT.format(table=table))
    world.rest(world.pick(1.5, 20))
    for service in TABLES:
        world.query(service, "drop function refuse cascade")


def postgres_on_a_full_disk(world, load):
    """The server's own files can't grow, which ends it; then there is room again."""
    with limited([world.postgres.pid]):
        world.query("source", HANG_UP)  # who is connected anew has the limit
        if not CAN_LIMIT:
            world.kill(world.postgres)
        world.until(lambda: world.postgres.pid is None, "it gives up")
    world.rest(world.pick(0, 10))
    world.start(world.postgres)
    return "" if CAN_LIMIT else "killed, as this system can't limit another process's files"


@contextmanager
def limited(pids):
    """No file of these processes may grow, where the system can do that (Linux); pipes and sockets go on."""
    limits = {}
    for pid in pids if CAN_LIMIT else ():
        with suppress(ProcessLookupError):  # an instance that was about to end
            limits[pid] = _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
