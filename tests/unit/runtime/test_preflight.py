"""Before a start every server is asked, each for a bounded time; a line says what it is, or what is wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from micro import registry
from micro.backend import Checkup
from micro.bus.message import Event
from micro.bus.migrations import FOLDER
from micro.clock import SystemClock
from micro.config.load import load_stack
from micro.config.read import read_config
from micro.errors import BusUnavailable, CacheUnavailable, DatabaseMissing, StoreUnavailable
from micro.runtime import preflight
from micro.runtime.finding import Finding
from micro.runtime.preflight import Preflight, refusal, topics_of
from micro.service import Service
from micro.store.migrate import load_migrations
from micro.store.sqlite import SqliteStore

URLS = {
    "MICRO_STORE": "postgresql://me:s3cret@db/{service}",
    "MICRO_BUS": "kafka://b",
    "MICRO_CACHE": "redis://c",
}
PENDING = 2 * len(load_migrations(FOLDER, "sqlite")) + 1
"""Ours for each of two services, and one of their own."""


class Ordered(Event, topic="order.events"):
    n: int


class FakeStore(SqliteStore):
    """A database on a server: SQLite, which answers as a test says."""

    def __init__(self, path, world):
        super().__init__(f"sqlite:{path}", clock=SystemClock())
        self._name = path.stem
        self._world = world

    async def provision(self):
        self._world.provisioned.add(self._name)
        return True

    async def check(self):
        answer = self._world.answers[self._name]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeServer:
    def __init__(self, answer):
        self._answer = answer
        self.asked = []

    async def check(self, *arguments):
        self.asked.append(arguments)
        return await self._answer() if callable(self._answer) else self._answer


class World:
    """Services `shop` and `crates`, a bus and a cache, whose servers answer as a test says."""

    def __init__(self, folder):
        (folder / "micro.toml").write_text(
            '[services.shop]\nservice = "x:s"\n[services.crates]\nservice = "y:s"\n[services.web]\napp = "z:a"\n'
        )
        self.config = read_config(folder, URLS)
        self.profile = self.config.profile()
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0001_orders.sql").write_text("create table orders (word text) strict;")
        self.services = {
            "shop": Service("shop", migrations=str(folder / "migrations"), publishes=[Ordered]),
            "crates": Service("crates"),
            "web": Service("web", app=lambda *_: None, routes=["/web"]),
        }

        @self.services["crates"].on("Ordered", topic="order.events")
        async def handle(event, tx): ...

        self.folder, self.provisioned = folder, set()
        self.answers = {name: Checkup(f"PostgreSQL 18.1 at db:5432/{name}") for name in ("shop", "crates")}
        self.bus, self.cache = (
            FakeServer(Checkup("Kafka at b:9092")),
            FakeServer(Checkup("Valkey 9 at c:6379")),
        )

    def create(self, port, url, *, clock):
        if port == "store":
            return FakeStore(self.folder / f"{url.rpartition('/')[2]}.db", self)
        return {"bus": self.bus, "cache": self.cache}[port]

    async def run(self, **options):
        loaded = load_stack(self.config.stack, self.services)
        create = options.pop("create", self.create)
        return await Preflight(self.profile, loaded, clock=SystemClock(), create=create, **options).run()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
async def migrated(world):
    """The same, its databases up to date."""
    await world.run(migrate=True)
    return world


async def test_of_good_servers_each_is_a_line(migrated):
    assert await migrated.run() == [
        Finding("store", "ok", "PostgreSQL 18.1 at db:5432/{service} (shop, crates)"),
        Finding("bus", "ok", "Kafka at b:9092"),
        Finding("cache", "ok", "Valkey 9 at c:6379"),
    ]


async def test_the_brokers_are_asked_for_every_topic_that_the_services_need_and_what_for(migrated):
    await migrated.run()
    assert migrated.bus.asked[-1] == (
        {"system.events": {"write"}, "order.events": {"read", "write"}, "order.events.dlq": {"write"}},
    )
    assert topics_of({}) == {"system.events": {"write"}}


async def test_pending_migrations_are_a_failure_that_names_the_command(world):
    [store, *rest] = await world.run()
    assert store.state == "fail"
    assert store.detail == (
        f"store: {PENDING} migrations of shop, crates are pending; apply with: micro db migrate --dev"
    )
    assert {finding.state for finding in rest} == {"ok"}
    assert world.provisioned == set()


async def test_pending_migrations_that_the_user_could_not_apply_say_so(world):
    for name in world.answers:
        world.answers[name] = Checkup("PostgreSQL", "db:5432/shop: the user may not create tables")
    [store, *_] = await world.run()
    assert "are pending; db:5432/shop: the user may not create tables; apply with" in store.detail


async def test_with_nothing_pending_nobody_needs_the_right_to_create(migrated):
    for name in migrated.answers:
        migrated.answers[name] = Checkup("PostgreSQL", "the user may not create tables")
    assert {finding.state for finding in await migrated.run()} == {"ok"}


async def test_asked_to_migrate_it_makes_the_databases_and_says_how_much_was_applied(world):
    [store, *_] = await world.run(migrate=True)
    assert store == Finding(
        "store", "ok", f"PostgreSQL 18.1 at db:5432/{{service}} (shop, crates); {PENDING} migrations applied"
    )
    assert world.provisioned == {"shop", "crates"}


def failing(error):
    async def fail():
        raise error

    return fail


async def test_databases_with_one_fate_are_one_line(migrated):
    for name in migrated.answers:
        migrated.answers[name] = StoreUnavailable(f"db:5432/{name}: no server answers")
    [line, *_] = await migrated.run()
    assert line.detail == "store: db:5432/{service}: no server answers (shop, crates)"


async def test_databases_with_different_fates_are_a_line_each(migrated):
    migrated.answers["shop"] = DatabaseMissing('db:5432/shop: database "shop" does not exist')
    details = [finding.detail for finding in await migrated.run()]
    assert details[:2] == [
        'store: db:5432/{service}: database "{service}" does not exist (shop)',
        "PostgreSQL 18.1 at db:5432/{service} (crates)",
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BusUnavailable("kafka b: no broker answers"), "bus: kafka b: no broker answers"),
        (ValueError("unpack requires 4 bytes"), "makes no sense (ValueError: unpack requires 4 bytes)"),
        (BusUnavailable("at kafka://me:s3cret@b\nand more"), "bus: at kafka://me:***@b and more"),
        (BusUnavailable("x" * 1000), "xxx"),
    ],
)
async def test_whatever_goes_wrong_is_one_line_without_secrets(migrated, error, said):
    migrated.bus = FakeServer(failing(error))
    [line] = [finding for finding in await migrated.run() if finding.check == "bus"]
    assert line.state == "fail"
    assert said in line.detail
    assert "s3cret" not in line.detail
    assert "\n" not in line.detail
    assert len(line.detail) < 400


async def test_a_right_that_is_missing_fails(migrated):
    migrated.cache = FakeServer(Checkup("Redis", "c:6379: the user may not run scripts"))
    *_, line = await migrated.run()
    assert line == Finding("cache", "fail", "cache: c:6379: the user may not run scripts")


async def test_a_server_that_says_nothing_gets_so_much_time_and_no_more(migrated, monkeypatch):
    monkeypatch.setattr(preflight, "LIMIT", 0.05)
    migrated.bus = FakeServer(asyncio.Event().wait)
    [line] = [finding for finding in await migrated.run() if finding.check == "bus"]
    assert line.detail == "bus: no answer within 0.05 s"


async def test_all_are_asked_at_the_same_time(migrated):
    met = asyncio.Barrier(2)

    async def meet():
        await met.wait()
        raise CacheUnavailable("met")

    migrated.bus, migrated.cache = FakeServer(meet), FakeServer(meet)
    async with asyncio.timeout(60):
        assert [finding.state for finding in await migrated.run()] == ["ok", "fail", "fail"]


async def test_a_missing_driver_names_the_extra(migrated, monkeypatch):
    built = registry._Built("no_such_driver:X", "kafka")
    monkeypatch.setitem(registry._BUILT_IN["bus"], "kafka", built)

    def create(port, url, **arguments):
        return (
            registry.create(port, url, **arguments)
            if port == "bus"
            else migrated.create(port, url, **arguments)
        )

    [line] = [finding for finding in await migrated.run(create=create) if finding.check == "bus"]
    assert "pip install 'microup[kafka]'" in line.detail


async def test_what_can_not_be_asked_is_taken_as_it_is(migrated):
    """A third party's back end need not have a check."""
    migrated.cache = SimpleNamespace()
    assert [finding.check for finding in await migrated.run()] == ["store", "bus"]


async def test_a_profile_of_this_process_alone_has_nothing_to_ask(migrated):
    migrated.profile = replace(migrated.profile, store="sqlite:{service}.db", bus="memory:", cache="memory:")
    assert await migrated.run() == []


def test_what_has_failed_is_two_lines_at_most():
    failed = [Finding("store", "fail", text) for text in ("a", "b", "c")]
    assert str(refusal(failed)) == "a\nb; c"
    assert str(refusal([failed[0], Finding("bus", "ok", "x")])) == "a"
    assert refusal([Finding("bus", "ok", "x")]) is None


async def test_servers_that_are_set_up_to_forget_are_noticed(migrated):
    loaded = load_stack(migrated.config.stack, migrated.services)
    migrated.bus = FakeServer(Checkup("Kafka", durable=False))
    made = Preflight(migrated.profile, loaded, clock=SystemClock(), create=migrated.create)
    assert made.durable
    await made.run()
    assert not made.durable
