"""One function builds the whole stack, opens nothing, and takes what a test wants otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from micro import registry
from micro.bus.memory import MemoryBus
from micro.config import read_config
from micro.errors import CallError, ConfigurationError, NotFound, StoreUnavailable
from micro.runtime.assemble import assemble
from micro.runtime.inprocess import ask
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


def test_what_this_version_cannot_run_is_refused_before_anything_is_built(folder: Any) -> None:
    (folder / "micro.toml").write_text('[services.x]\ncommand = "node x.js"\nport = 9\n')
    config = read_config(folder, {})
    with pytest.raises(ConfigurationError, match="not part of this version"):
        assemble(config, config.profile())


def test_a_member_that_it_cannot_run_stands_in_nobodys_way_where_it_is_not_chosen(
    build: Any, folder: Any
) -> None:
    with (folder / "micro.toml").open("a") as file:
        file.write('\n[services.x]\nurl = "http://127.0.0.1:9"\n')
    with pytest.raises(ConfigurationError, match=r"services\.x\.url: is not part of this version"):
        build()
    assert list(build(choice=Choice(names=("shop",))).services) == ["shop"]


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
