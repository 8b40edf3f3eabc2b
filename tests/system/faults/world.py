"""The stack of the ledger as processes on real servers of its own, which may be done to as anybody likes."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import cached_property

import asyncpg
from conftest import HERE, MICRO, Started
from faults.proxy import Proxy

from micro.bus.kafka import KafkaBus
from micro.clock import SystemClock
from micro.errors import MicroError
from micro.ids import new_id
from micro.infra.kafka import Kafka
from micro.infra.postgres import Postgres
from micro.infra.server import LOOPBACK, Record, is_free, write_private
from micro.infra.valkey import Valkey

TOML = """
[stack]
name = "faults"
[gateway]
port = {port}
rate_limit = "off"
[services.source]
service = "faults.services:source"
port = 0
[services.first]
service = "faults.services:first"
port = 0
[services.second]
service = "faults.services:second"
port = 0
[profiles.prod]
runner = "multi"
replicas = {{ source = 2, first = 2, second = 2 }}
"""
QUICK = """\
group.min.session.timeout.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
"""Short sessions, of clients where they ask for them, and of a broker that is killed and comes back."""
SERVICES = ("source", "first", "second")
LOOK = 0.05
"""Seconds between two looks at what nobody tells."""
PATIENCE = 60.0
"""Seconds after which something that must happen has not."""


class Broker(Kafka):
    """A broker that tells its clients to come by a proxy."""

    def __init__(self, folder, proxy, *, clock):
        super().__init__(folder, clock=clock)
        self._proxy = proxy

    async def prepare(self, record, tell):
        await super().prepare(record, tell)
        self._proxy.target = record.ports[0]
        direct, proxied = (
            f"advertised.listeners=CLIENT://{LOOPBACK}:{port}" for port in (record.ports[0], self._proxy.port)
        )
        text = self._configuration.read_text().replace(direct, proxied)
        write_private(self._configuration, (text + QUICK).encode())

    def url(self, record):
        return super().url(record).replace(f":{record.ports[0]}?", f":{self._proxy.port}?")


class World:
    """Servers, stack, and what a scenario does to them. `hurry` makes long times short, see `faults.points`."""

    def __init__(self, folder, *, hurry):
        self.hurry = hurry
        self.folder = folder
        self.clock = SystemClock()
        self.link = Proxy()
        self.postgres = Postgres(folder, clock=self.clock)
        self.kafka = Broker(folder, self.link, clock=self.clock)
        self.valkey = Valkey(folder, clock=self.clock)
        self.broken = folder / "broken"
        """While it is there, nobody can handle what is risky."""
        self._points = folder / "points"
        self._points.mkdir()
        [port] = self._ports(1)
        (folder / "micro.toml").write_text(TOML.format(port=port))
        self.gateway = f"{LOOPBACK}:{port}"
        self.stack = None

    def pick(self, short, long):
        """What is short in a hurry, and long in the long form."""
        return short if self.hurry else long

    # Servers and stack.

    def open(self):
        """Start everything."""

        async def start():
            await asyncio.gather(*(server.start(lambda _: None) for server in servers))

        servers = (self.postgres, self.kafka, self.valkey)
        for server in servers:
            server.folder.mkdir()
            password = new_id(self.clock)
            server._save(Record(ports=self._ports(server.ports), password=password, version=server.version))

        asyncio.run(start())
        self.up()

    def _ports(self, count):
        """Free ones below those that the kernel gives to clients: one that looks for a dead server could meet itself."""
        found = []
        while len(found) < count:
            port = 10_000 + self.clock.randbits(14)
            found += [port] if is_free(port) and port not in found else []
        return found

    def up(self):
        """Start the stack."""
        environ = {
            "MICRO_STORE": self.postgres.url(self.postgres.record) + "?pool=6",
            "MICRO_BUS": self.bus_url,
            "MICRO_CACHE": self.valkey.url(self.valkey.record),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))),
            "LEDGER_BROKEN": str(self.broken),
            "FAULTS": str(self._points),
            **({"FAULTS_HURRY": "yes"} if self.hurry else {}),
        }
        command = [MICRO, "up", "--prod", "--migrate", "--json"]
        self.stack = Started(self.folder, command, environ).started()

    def close(self):
        """Leave nothing running."""
        self.link.mend()
        if self.stack is not None:
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self.stack.end()

        async def stop():
            await asyncio.gather(*(server.stop() for server in (self.postgres, self.kafka, self.valkey)))

        asyncio.run(stop())
        self.link.close()

    def kill_all(self):
        """End every process of the stack by SIGKILL in one moment."""
        for pid in (self.stack.pid, *self.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stack.wait()

    def kill(self, server):
        """End a server by SIGKILL."""
        os.kill(server.pid, signal.SIGKILL)
        self.until(lambda: server.pid is None, "the server is dead")

    def start(self, server):
        """Start a server again."""
        asyncio.run(server.start(lambda _: None))

    def stop(self, server):
        """Stop a server as its administrator would."""
        asyncio.run(server.stop())

    def instances(self, *services):
        """What `micro ps` says of the instances of these services, or of all."""
        return [row for row in self.stack.ask("ps")[0] if not services or row["service"] in services]

    def pids(self, *services):
        """Their processes."""
        with suppress(MicroError):
            return [row["pid"] for row in self.instances(*services) if row["pid"]]
        return []

    def is_well(self):
        """Whether every instance runs and is healthy."""
        rows = self.instances()
        return len(rows) == 2 * len(SERVICES) + 1 and {row["state"] for row in rows} == {"healthy"}

    # Points.

    def arm(self, point, what="kill"):
        """Have `what` happen to the next process that reaches the point."""
        (self._points / f"{point}.hit").unlink(missing_ok=True)
        fresh = self._points / f"{point}.new"
        fresh.write_text(what)
        fresh.rename(self._points / point)

    def disarm(self):
        """Let nothing more happen at points."""
        for each in self._points.iterdir():
            each.unlink(missing_ok=True)

    def hit(self, point):
        """Wait until it happened; to which process."""

        def who():
            with suppress(FileNotFoundError):
                return int(digits) if (digits := (self._points / f"{point}.hit").read_text()).isdigit() else 0
            return 0

        return self.until(who, f"somebody reaches {point}")

    # Looking.

    def until(self, condition, what, *, limit=PATIENCE):
        """What `condition()` answers, as soon as it is true."""
        found = self.comes(condition, limit=limit)
        assert found, f"{what}: not within {limit:g} s\n{self.stack.errors[-2000:]}"
        return found

    def comes(self, condition, *, limit):
        """The same, and what it answers in the end where it does not become true."""
        end = self.clock.monotonic() + limit
        while not (found := condition()) and self.clock.monotonic() < end:
            self.rest(LOOK)
        return found

    def now(self):
        """Seconds since the epoch."""
        return self.clock.now().timestamp()

    def rest(self, seconds):
        """Let things happen."""
        asyncio.run(self.clock.sleep(seconds))

    def query(self, service, sql, *values):
        """Rows of a service's database."""

        async def fetch():
            connection = await asyncpg.connect(self.database(service))
            try:
                return [tuple(row) for row in await connection.fetch(sql, *values)]
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def database(self, service):
        """Where its database is."""
        return self.postgres.url(self.postgres.record).format(service=service)

    def with_log(self, read):
        """What `read(bus)` answers, a coroutine function that is given the open log."""

        async def work():
            bus = KafkaBus(self.bus_url, clock=self.clock)
            await bus.open()
            try:
                return await read(bus)
            finally:
                await bus.close()

        return asyncio.run(work())

    @cached_property
    def bus_url(self):
        """Where the log is, by way of the link."""
        return self.kafka.url(self.kafka.record)
