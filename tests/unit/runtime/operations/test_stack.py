"""The verbs about the stack as a whole, and the verbs of one that does not run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from micro.config import read_config
from micro.errors import NotFound, StackNotRunning, StackRunning, UsageError
from micro.runtime.operations import open_offline, stack, verbs_of
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


async def test_offline_the_same_verbs_work_on_the_files(importable: Any, folder: Any) -> None:
    (folder / ".micro").mkdir()
    async with open_offline(*importable) as verbs:
        await verbs["events.publish"](topic="notes", type="Noted", key="a", data={"n": 1})
        pending = await verbs["db.status"](service="lone")
        assert pending["items"][-1]["applied_at"] is None
        assert (await verbs["events.stats"]())["outboxes"][0]["waiting"] == 0
        await verbs["db.migrate"]()
        with pytest.raises(StackRunning):
            StateFolder(folder / ".micro").acquire()
    async with open_offline(*importable) as verbs:
        assert [item["event"]["data"] async for item in verbs["events.list"]()] == [{"n": 1}]
        assert (await verbs["db.status"](service="lone"))["items"][-1]["applied_at"] is not None


async def test_offline_a_folder_without_a_stack_stays_untouched(importable: Any, folder: Any) -> None:
    with pytest.raises(StackNotRunning, match="no stack has run here"):
        async with open_offline(*importable):
            pass
    assert not (folder / ".micro").exists()
    async with open_offline(*importable, create=True) as verbs:
        assert len((await verbs["db.migrate"]())["items"]) > 0


def test_where_memory_cannot_be_read_its_peak_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def __init__(self, path: str) -> None:
            raise FileNotFoundError(path)

    monkeypatch.setattr(stack, "Path", Nowhere)
    assert stack._resident_bytes() > 0
