"""One function builds the whole stack, opens nothing, and takes what a test wants otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from micro import registry
from micro.bus.memory import MemoryBus
from micro.cache.memory import MemoryCache
from micro.clock import SystemClock
from micro.errors import CallError, NotFound, StoreUnavailable
from micro.runtime.inprocess import ask
from micro.runtime.operations import verbs_of
from micro.runtime.settings import Choice
from micro.runtime.system import all_of


def test_nothing_is_opened_or_written_by_building(build: Any, folder: Any) -> None:
    system = build()
    assert list(system.services) == ["shop", "plain", "crates"]
    assert not (folder / ".micro").exists()


def test_an_app_without_a_service_has_no_database(build: Any) -> None:
    system = build()
    assert system.services["plain"].store is None
    assert system.services["plain"].instance.events is None
    assert system.services["shop"].store is not None


def test_a_choice_of_services_comes_with_what_they_depend_on(build: Any) -> None:
    assert list(build(choice=Choice(names=("crates",))).services) == ["shop", "crates"]
    assert list(build(choice=Choice(names=("crates",), depends=False)).services) == ["crates"]
    with pytest.raises(NotFound, match="did you mean"):
        build(choice=Choice(names=("crate",)))


@pytest.fixture
def elsewhere(folder: Any) -> None:
    """Two members more: one on the network, one that is a program."""
    with (folder / "micro.toml").open("a") as file:
        file.write(
            '[services.far]\nurl = ["http://127.0.0.1:9", "http://127.0.0.1:10/base"]\nroutes = ["/far"]\n'
            '[services.tool]\ncommand = "no-such-program"\nport = 0\nroutes = ["/tool"]\nhealth = "/up"\n'
        )


@pytest.mark.usefixtures("elsewhere")
def test_members_of_other_kinds_are_upstreams_without_a_database(build: Any) -> None:
    """Not even their programs are looked for: that is for a start."""
    system = build()
    assert list(system.services) == ["shop", "plain", "crates"]
    assert list(system.remotes) == ["far", "tool"]
    assert set(system.shared.upstreams) == {*system.services, *system.remotes}
    assert system.board.verdicts["far"] == "starting"
    states = system.remotes["far"].cluster.states()
    assert [each["instance"] for each in states] == ["127.0.0.1:9", "127.0.0.1:10/base"]
    assert {"/far", "/tool"} <= {row["path"] for row in system.gateway.table()}
    assert list(build(choice=Choice(names=("shop",))).remotes) == []


@pytest.mark.usefixtures("elsewhere")
async def test_their_metrics_are_among_the_gateways_and_their_changes_are_events(build: Any) -> None:
    system = build()
    await system.open()
    try:
        assert 'service="far"' in system.gateway.metrics.render()
        instance = system.remotes["far"].cluster.instances[0]
        system.remotes["far"].cluster.observed(instance, "")
        assert system.board.verdicts["far"] == "healthy", "the board is told at once"
        await system.announcer.flush()
        (number,) = [number async for number in found(system)]
        assert number == {"service": "far", "instance": "127.0.0.1:9"}
    finally:
        await system.close()


async def found(system: Any) -> Any:
    """What was published of instances on the network."""
    verbs = verbs_of(system)
    async for item in verbs["events.list"](topic="system.events", key="far"):
        assert item["event"]["type"] == "InstanceHealthyEvent"
        yield item["event"]["data"]


@pytest.mark.usefixtures("elsewhere")
async def test_a_name_of_theirs_where_a_database_is_meant_is_told_from_a_wrong_one(build: Any) -> None:
    verbs = verbs_of(build())
    with pytest.raises(NotFound, match="far has no database, no handlers and no code here"):
        await verbs["db.status"](service="far")
    with pytest.raises(NotFound, match="there is no service 'fur'"):
        await verbs["db.status"](service="fur")
    with pytest.raises(NotFound, match="tool has no database"):
        await verbs["reload"](service="tool")


async def test_back_ends_can_be_replaced(build: Any) -> None:
    made = []

    def create(port: str, url: str, **arguments: Any) -> Any:
        made.append((port, url.partition(":")[0]))
        return registry.create(port, url, **arguments)

    build(create=create)
    assert sorted(made) == [("bus", "memory"), ("cache", "memory"), ("store", "sqlite"), ("store", "sqlite")]


async def test_after_a_half_failed_open_nothing_is_held(build: Any) -> None:
    first = build()
    await first.open()
    second = build()
    with pytest.raises(StoreUnavailable):
        await second.open()
    await first.close()
    await first.close()
    third = build()
    await third.open()
    await third.close()


async def test_a_part_that_does_not_close_is_said_and_keeps_no_other_open(
    build: Any, caplog: pytest.LogCaptureFixture
) -> None:
    system = build()
    await system.open()
    close = system.shared.cache.close

    async def fail() -> None:
        raise OSError("stuck")

    system.shared.cache.close = fail
    await system.close()
    await close()
    assert "MemoryCache did not close" in caplog.text
    again = build()
    await again.open()
    await again.close()


async def test_all_are_awaited_before_the_first_error_is_raised() -> None:
    done = []

    async def fail(message: str) -> None:
        raise ValueError(message)

    async def work() -> None:
        await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time
        done.append(True)

    with pytest.raises(ValueError, match="first"):
        await all_of([work(), fail("first"), fail("second")])
    assert done == [True]


async def test_requests_go_through_the_gateway_to_the_service_and_its_database(running: Any) -> None:
    await running.order("apple")
    rows = await running.system.services["shop"].store.query("select word from orders")
    assert [row["word"] for row in rows] == ["apple"]


async def test_a_service_without_an_app_answers_404_and_its_health(running: Any) -> None:
    app = running.system.services["crates"].upstream.call
    assert (await ask(app, "GET", "/health")).status == 200
    assert (await ask(app, "GET", "/anything")).status == 404


async def test_the_documents_of_all_services_are_one(running: Any) -> None:
    reply = await ask(running.system.gateway, "GET", "/openapi.json")
    assert reply.status == 200
    assert {tag["name"] for tag in reply.json()["tags"]} == {"shop", "crates", "plain"}


async def test_the_stacks_own_tokens_are_accepted_and_the_key_is_made_when_first_needed(
    running: Any, folder: Any
) -> None:
    key = folder / ".micro" / "keys" / "stack.json"
    assert not key.exists()
    token = running.system.shared.keys.token("ada", role="admin", ttl=60)
    assert key.exists()
    identity = await running.system.shared.verifier.verify(token)
    assert (identity.subject, identity.role) == ("ada", "admin")


async def test_a_service_is_unready_until_it_has_started_and_when_it_stops(build: Any) -> None:
    system = build()
    instance = system.services["plain"].instance
    assert instance.unready() == "starting"
    assert await system.services["plain"].is_well() is False
    await instance.start()
    assert await system.services["plain"].is_well() is True
    await instance.stop()
    assert instance.unready() == "stopping"


async def test_a_document_that_cannot_be_had_leaves_the_others(running: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise CallError("no")

    async def nonsense(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"[]" if calls.pop() else b"{"})

    for name, app in (("shop", broken), ("plain", nonsense), ("crates", nonsense)):
        running.system.services[name].upstream.replace(app)
    calls = [0, 1]
    reply = await ask(running.system.gateway, "GET", "/openapi.json")
    assert reply.status == 200
    assert reply.json()["tags"] == []


def test_a_bus_that_processes_share_gets_no_journal(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, dict[str, Any]] = {}
    chosen = registry.backend_class

    class SharedBus(MemoryBus):
        features = replace(MemoryBus.features, shared_by_processes=True)

    def create(port: str, url: str, **arguments: Any) -> Any:
        given[port] = arguments
        return registry.create(port, url, **arguments)

    monkeypatch.setattr(
        registry, "backend_class", lambda port, url: SharedBus if port == "bus" else chosen(port, url)
    )
    system = build(create=create)
    assert "journal" not in given["bus"]
    assert system.shared.backbone == [system.shared.bus, system.shared.cache]


@pytest.mark.parametrize(("instance", "given"), [(None, {}), ("shop-1.here", {"instance": "shop-1.here"})])
def test_kafka_is_told_the_name_under_which_a_process_comes_back(
    build: Any, folder: Any, instance: str | None, given: dict[str, str]
) -> None:
    """It keeps lists of its members; whoever gets a new name each time is a new member each time."""
    with (folder / "micro.toml").open("a") as file:
        file.write('[profiles.dev]\nbus = "kafka://localhost:9"\n')
    told = {}

    def create(port: str, url: str, **arguments: Any) -> Any:
        if port == "bus":
            told.update(arguments)
        return registry.create(port, url, **arguments)

    system = build(create=create, choice=Choice(instance=instance))
    assert {name: value for name, value in told.items() if name != "clock"} == given
    assert instance in {None, system.shared.process}


async def test_no_service_sees_another_s_values(build: Any) -> None:
    system = build()
    shop, crates = (system.services[name].instance.resources.cache for name in ("shop", "crates"))
    await shop.set("key", b"value", ttl=60)
    assert (await shop.get("key"), await crates.get("key")) == (b"value", None)


def test_a_cache_that_processes_share_is_told_which_stack_s_it_is_by_name_and_key(
    build: Any, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    chosen = registry.backend_class

    class SharedCache(MemoryCache):
        features = replace(MemoryCache.features, shared_by_processes=True)

    def create(port: str, url: str, **arguments: Any) -> Any:
        if port == "cache":
            given.append(arguments)
            return SharedCache(url, clock=SystemClock())
        return registry.create(port, url, **arguments)  # type: ignore[arg-type] # a port

    build(create=create)
    monkeypatch.setattr(
        registry, "backend_class", lambda port, url: SharedCache if port == "cache" else chosen(port, url)
    )
    stack = build(create=create).shared.keys.identity("micro")
    build(create=create)
    (folder / ".micro" / "keys" / "stack.json").unlink()
    build(create=create)
    kept = [each.get("stack") for each in given]
    assert kept[:3] == [None, stack, stack]
    assert kept[3].startswith("micro:")
    assert kept[3] != stack


async def test_a_cache_out_of_reach_is_told_by_health_and_metrics_and_the_gateway_serves_on(
    build: Any,
) -> None:
    class Away(MemoryCache):
        degraded = False
        share = 1.0

    cache = Away("memory:", clock=SystemClock())

    def create(port: str, url: str, **arguments: Any) -> Any:
        return cache if port == "cache" else registry.create(port, url, **arguments)  # type: ignore[arg-type] # a port

    system = build(create=create)
    seen = [await at_the_gateway(system, path) for path in ("/health", "/metrics")]
    assert "cache" not in seen[0].json()["services"]
    assert {"micro_cache_degraded 0", "micro_cache_share 1"} <= {*seen[1].body.decode().splitlines()}
    cache.degraded, cache.share = True, 0.25
    for hosted in system.services:
        system.board.verdicts[hosted] = "healthy"
    health = (await at_the_gateway(system, "/health")).json()
    assert (health["status"], health["services"]["cache"]) == ("degraded", "degraded")
    metrics = (await at_the_gateway(system, "/metrics")).body.decode().splitlines()
    assert {"micro_cache_degraded 1", "micro_cache_share 0.25"} <= {*metrics}
    await system.close()


async def at_the_gateway(system: Any, path: str) -> Any:
    return await ask(system.gateway, "GET", path, headers=[(b"host", b"localhost")])
