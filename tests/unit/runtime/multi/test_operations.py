"""The verbs about a stack in many processes, on children that are none."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from micro.errors import CallError, UsageError
from micro.runtime.multi.operations import SupervisedOperations
from micro.runtime.multi.supervisor import Supervisor
from micro.testing import FakeClock

sys.path.append(str(Path(__file__).parent))
from family import Family


class Stack:
    def __init__(self) -> None:
        self.clock = FakeClock()
        family = Family()
        groups = {name: family.group(name) for name in ("shop", "gateway")}
        self.supervisor = Supervisor(
            groups, after={"shop": (), "gateway": ("shop",)}, fixed={"far": ["http://f:1"]}, clock=self.clock
        )
        self.stopped = asyncio.Event()
        self.operations = SupervisedOperations(
            self.supervisor,
            urls={"shop": "http://127.0.0.1:8001", "gateway": "http://127.0.0.1:8000"},
            elsewhere={"far": ["http://f:1"]},
            stop=self.stopped.set,
            clock=self.clock,
        )

    @property
    def gateway(self) -> Any:
        return self.supervisor.groups["gateway"].children[0]

    @property
    def shop(self) -> Any:
        return self.supervisor.groups["shop"].children[0]


@pytest.fixture
async def stack() -> Any:
    made = Stack()
    await made.supervisor.spawn({"shop": 2})
    await made.supervisor.begin()
    yield made
    await made.supervisor.kill()


async def ask(stack: Stack, verb: str, **args: Any) -> Any:
    return await stack.operations.verbs()[verb](**args)


async def test_ps_has_a_row_for_every_instance(stack: Stack) -> None:
    stack.shop.pid, stack.shop.port, stack.shop.restarts = os.getpid(), 4001, 2
    await stack.clock.advance(5)
    first, second, gateway, far = (await ask(stack, "ps"))["items"]
    assert first["cpu"] >= 0
    assert first["memory"] > 1e6
    assert {name: value for name, value in first.items() if name not in {"cpu", "memory"}} == {
        "service": "shop",
        "instance": "shop-1",
        "url": "http://127.0.0.1:8001",
        "port": 4001,
        "pid": os.getpid(),
        "state": "healthy",
        "restarts": 2,
        "reloads": 0,
        "uptime": 5.0,
    }
    assert (second["instance"], gateway["instance"]) == ("shop-2", "gateway-1")
    assert (far["instance"], far["state"], far["pid"], far["port"]) == ("f:1", "starting", None, None)


async def test_what_the_system_does_not_tell_of_a_process_it_tells_itself(stack: Stack) -> None:
    stack.shop.pid, stack.shop.report = None, {"cpu": 1.5, "memory": 7}
    row = (await ask(stack, "ps"))["items"][0]
    assert (row["cpu"], row["memory"], row["uptime"]) == (1.5, 7, None)


async def test_health_is_of_each_service_and_a_gateway_worker_knows_those_elsewhere(stack: Stack) -> None:
    stack.gateway.report = {"services": {"far": "healthy", "shop": "whatever"}}
    health = await ask(stack, "health")
    assert health["services"] == {"shop": "healthy", "far": "healthy"}
    assert health["status"] == "healthy"
    stack.shop.state = "crash-loop"
    assert (await ask(stack, "health"))["status"] == "healthy", "the other instance serves"


async def test_what_a_worker_sees_besides_the_services_is_told_and_waited_for_by_nobody(stack: Stack) -> None:
    stack.gateway.report = {"services": {"far": "healthy", "cache": "degraded"}}
    health = await ask(stack, "health")
    assert health["services"] == {"shop": "healthy", "far": "healthy", "cache": "degraded"}
    assert health["status"] == "degraded"
    assert (await ask(stack, "wait", timeout=0.01))["ready"] is True


async def test_a_program_is_shown_in_the_place_of_the_process_that_looks_after_it(stack: Stack) -> None:
    stack.shop.pid, stack.shop.report = 1, {"pid": os.getpid()}
    assert (await ask(stack, "ps"))["items"][0]["pid"] == os.getpid()
    stack.shop.pid = None
    assert (await ask(stack, "ps"))["items"][0]["pid"] is None


async def test_wait_returns_when_all_are_well_or_at_its_time(stack: Stack) -> None:
    waiting = asyncio.create_task(ask(stack, "wait"))
    await stack.clock.advance(0.1)
    assert not waiting.done()
    stack.gateway.report = {"services": {"far": "healthy"}}
    await stack.clock.advance(0.1)
    assert (await waiting)["ready"] is True
    stack.gateway.report = {}
    assert (await ask(stack, "wait", timeout=0.01))["ready"] is False


async def test_routes_are_a_gateway_workers(stack: Stack) -> None:
    stack.gateway.answers["routes"] = {"items": [1]}
    assert await ask(stack, "routes", method="GET", path="/x") == {"items": [1]}
    assert stack.gateway.asked[-1] == ("routes", {"method": "GET", "path": "/x"})
    await stack.supervisor.scale("gateway", 2)
    for child in stack.supervisor.groups["gateway"].children:
        child.answers["routes.reload"] = {"changed": True, "notes": []}  # type: ignore[attr-defined] # a fake
    assert await ask(stack, "routes.reload") == {"changed": True, "notes": []}
    asked = [child.asked[-1][0] for child in stack.supervisor.groups["gateway"].children]  # type: ignore[attr-defined] # a fake
    assert asked == ["routes.reload", "routes.reload"], "every worker has its own"


async def test_the_services_follow_the_settings_too_and_one_that_does_not_is_named(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway's word counts: the routes are in force there."""
    other = stack.supervisor.groups["shop"].children[1]
    said = {"changed": True, "notes": ["done"]}
    for child in (stack.gateway, stack.shop):
        child.answers["routes.reload"] = said
    other.answers["routes.reload"] = CallError("it is stuck")  # type: ignore[attr-defined] # a fake
    assert await ask(stack, "routes.reload") == said
    assert stack.shop.asked[-1][0] == "routes.reload"
    assert "shop-2 did not read the settings again: it is stuck" in caplog.text


@pytest.mark.parametrize("verb", ["routes", "routes.reload"])
async def test_without_a_gateway_worker_there_are_no_routes(stack: Stack, verb: str) -> None:
    stack.gateway.port = None
    with pytest.raises(CallError, match="no gateway worker is ready; see: micro ps"):
        await ask(stack, verb)


async def test_restart_and_scale_name_the_instances_that_run(stack: Stack) -> None:
    assert await ask(stack, "scale", service="shop", count=1) == {"service": "shop", "instances": ["shop-1"]}
    assert await ask(stack, "restart", service="shop") == {"service": "shop", "instances": ["shop-2"]}


async def test_code_is_not_reloaded_in_place(stack: Stack) -> None:
    with pytest.raises(UsageError, match="micro restart SERVICE"):
        await ask(stack, "reload", service="shop")


async def test_stop_is_answered_before_it_is_done(stack: Stack) -> None:
    assert await ask(stack, "stop") == {"pid": os.getpid()}
    assert not stack.stopped.is_set()
    await stack.stopped.wait()
