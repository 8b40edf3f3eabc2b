"""The verbs about the stack as a whole, and the verbs of one that does not run."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from micro.config.read import read_config
from micro.errors import MicroError, NotFound, StackNotRunning, StackRunning, UsageError
from micro.runtime.operations import stack, verbs_of
from micro.runtime.operations.offline import NEEDS, open_offline
from micro.runtime.state import StateFolder


async def test_ps_lists_the_gateway_and_every_service(running: Any) -> None:
    items = (await running.end("ps"))["items"]
    assert [(item["service"], item["state"]) for item in items] == [
        ("gateway", "healthy"),
        ("shop", "healthy"),
        ("plain", "healthy"),
        ("crates", "healthy"),
    ]
    assert items[0]["url"] == "http://x"
    assert {item["pid"] for item in items} == {os.getpid()}
    assert all(item["memory"] > 1_000_000 and item["uptime"] >= 0 for item in items)


async def test_health_is_what_the_gateway_says(running: Any) -> None:
    health = await running.end("health")
    assert health["status"] == "healthy"
    assert health["services"] == {"shop": "healthy", "crates": "healthy", "plain": "healthy"}


async def test_wait_ends_at_once_when_all_is_well_and_at_the_limit_when_not(running: Any) -> None:
    assert (await running.end("wait"))["ready"] is True
    running.system.board.verdicts["shop"] = "unhealthy"
    assert (await running.end("wait", timeout=0.01))["ready"] is False


async def test_routes_are_listed_and_explained(running: Any) -> None:
    paths = [item["path"] for item in (await running.end("routes"))["items"]]
    assert paths == ["/orders", "/plain"]
    assert (await running.end("routes", method="GET", path="/plain/x"))["service"] == "plain"
    with pytest.raises(UsageError, match="both"):
        await running.end("routes", method="GET")


async def test_stop_asks_after_it_has_answered(running: Any) -> None:
    assert await running.end("stop") == {"pid": os.getpid()}
    await running.stopped.wait()


async def test_reload_takes_one_service_or_all(running: Any) -> None:
    assert await running.end("reload", service="shop") == {"asked": ["shop"]}
    assert await running.end("reload") == {"asked": ["shop", "plain", "crates"]}
    assert await running.end("routes.reload") == {"asked": []}
    with pytest.raises(NotFound, match="did you mean"):
        await running.end("reload", service="shap")


@pytest.mark.parametrize("verb", ["ps", "health", "stop", "reload", "routes.reload"])
async def test_without_a_running_stack_its_verbs_say_how_to_start_one(build: Any, verb: str) -> None:
    with pytest.raises(StackNotRunning, match="micro up"):
        await verbs_of(build())[verb]()


@pytest.fixture
def importable(folder: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stack that can be imported, as a command does that finds none running."""
    (folder / "micro.toml").write_text('[services.lone]\nservice = "lone_service_of_test:service"\n')
    (folder / "lone_service_of_test.py").write_text(
        "from micro import Service\nservice = Service('lone', migrations='migrations')\n"
    )
    config = read_config(folder, {})
    return config, config.profile()


async def offline(stack: Any, verb: str, **args: Any) -> Any:
    async with open_offline(*stack, verb=verb) as done:
        answer = done(**args)
        return [item async for item in answer] if hasattr(answer, "__aiter__") else await answer


async def test_offline_the_same_verbs_work_on_the_files(importable: Any, folder: Any) -> None:
    (folder / ".micro").mkdir()
    await offline(importable, "events.publish", topic="notes", type="Noted", key="a", data={"n": 1})
    pending = await offline(importable, "db.status", service="lone")
    assert pending["items"][-1]["applied_at"] is None
    assert (await offline(importable, "events.stats"))["outboxes"][0]["waiting"] == 0
    await offline(importable, "db.migrate")
    assert [item["event"]["data"] for item in await offline(importable, "events.list")] == [{"n": 1}]
    assert (await offline(importable, "db.status"))["items"][-1]["applied_at"] is not None
    async with open_offline(*importable, verb="events.list"):
        with pytest.raises(StackRunning):
            StateFolder(folder / ".micro").acquire()


async def test_offline_nothing_is_opened_but_what_the_verb_needs(importable: Any, folder: Any) -> None:
    await offline(importable, "events.publish", topic="notes", type="Noted", key="a")
    assert not (folder / ".micro" / "lone.db").exists()
    await offline(importable, "db.migrate", service="lone")
    assert (folder / ".micro" / "lone.db").exists()


async def test_offline_a_folder_without_a_stack_stays_untouched(importable: Any, folder: Any) -> None:
    for verb in NEEDS.keys() - {"db.migrate", "events.publish"}:
        with pytest.raises(StackNotRunning, match="no stack has run here"):
            async with open_offline(*importable, verb=verb):
                pass
    assert not (folder / ".micro").exists()
    assert (await offline(importable, "db.migrate"))["items"]


def test_every_verb_that_works_offline_is_one_that_there_is(build: Any) -> None:
    assert verbs_of(build()).keys() >= NEEDS.keys()


async def test_offline_the_program_of_a_member_need_not_be_there(importable: Any, folder: Any) -> None:
    """A migration runs on machines that have nothing else."""
    with (folder / "micro.toml").open("a") as file:
        file.write(
            "[services.tool]\ncommand = 'no-such-program'\n[services.far]\nurl = 'http://127.0.0.1:9'\n"
        )
    config = read_config(folder, {})
    stack = config, config.profile()
    assert (await offline(stack, "db.migrate"))["items"]
    assert {item["service"] for item in (await offline(stack, "db.status"))["items"]} == {"lone"}


def test_the_memory_and_cpu_of_another_process_are_told_where_the_system_tells_them() -> None:
    found = stack.usage(os.getpid())
    assert found["memory"] is None or found["memory"] > 1_000_000
    assert found["cpu"] is None or found["cpu"] > 0
    assert stack.usage(None) == {"memory": None, "cpu": None}


def test_where_memory_cannot_be_read_its_peak_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def __init__(self, path: str) -> None:
            raise FileNotFoundError(path)

    monkeypatch.setattr(stack, "Path", Nowhere)
    assert stack._resident_bytes() > 0


async def test_restart_is_a_reload_of_that_service(running: Any) -> None:
    live = running.verbs["restart"].__self__._live
    asked: list[Any] = []

    async def reload(names: Any) -> dict[str, Any]:
        asked.append(list(names))
        return {"reloaded": list(names), "errors": ["shop: half an edit"] if len(asked) > 1 else []}

    object.__setattr__(live, "reload", reload)
    assert await running.end("restart", service="shop") == {"service": "shop", "instances": ["shop-1"]}
    assert asked == [["shop"]]
    with pytest.raises(MicroError, match=r"^shop: half an edit$"):
        await running.end("restart", service="shop")


async def test_restart_of_a_program_ends_it_and_of_a_url_is_refused(running: Any) -> None:
    restarted = asyncio.Event()

    async def restart() -> None:
        restarted.set()

    remotes = running.system.remotes
    remotes["sms"] = SimpleNamespace(program=SimpleNamespace(restart=restart))
    remotes["far"] = SimpleNamespace(program=None)
    try:
        assert (await running.end("restart", service="sms"))["instances"] == ["sms-1"]
        assert restarted.is_set()
        with pytest.raises(UsageError, match="far is not run by micro: it is given by url ="):
            await running.end("restart", service="far")
    finally:
        remotes.clear()


async def test_one_process_has_one_of_each(running: Any) -> None:
    with pytest.raises(UsageError, match="one process runs one instance of each service"):
        await running.end("scale", service="shop", count=2)
    with pytest.raises(UsageError, match="micro down, then micro up"):
        await running.end("restart", service="gateway")
