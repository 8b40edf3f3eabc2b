"""One running copy of a service works until it is told to rest."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from micro.clock import SystemClock
from micro.runtime import instance as module
from micro.runtime.instance import DEAF, Instance
from micro.service import Service
from micro.telemetry.logs import current_service
from micro.testing import FakeClock

LIMIT = 60.0


class Resources:
    clock: Any = SystemClock()


class Events:
    consumer: Any = None

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.drained: list[float] = []
        self.running = asyncio.Event()

    async def run(self) -> None:
        self.running.set()
        await asyncio.Event().wait()

    async def drain(self, timeout: float) -> bool:
        self.drained.append(timeout)
        if self.error:
            raise self.error
        return True


class App:
    """Stands in for the wrapper and the app in it."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.logged_as: list[str | None] = []

    @property
    def app(self) -> Any:
        return self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.logged_as.append(current_service.get())
        if scope["type"] == "lifespan":
            scope["state"]["opened"] = True


def make(service: Service, events: Any = None) -> tuple[Instance, App]:
    instance = Instance(service, resources=Resources(), events=events)  # type: ignore[arg-type] # only its clock is used
    app = App()
    instance.app = app  # type: ignore[assignment] # a double
    return instance, app


async def test_requests_see_what_the_lifespan_left_and_log_as_their_service() -> None:
    instance, app = make(Service("shop"))
    await instance.start()
    await instance({"type": "http"}, None, None)
    assert app.scopes[1]["state"] == {"micro": instance.resources, "opened": True}
    assert app.logged_as == ["shop", "shop"]
    assert current_service.get() is None
    await instance.stop()


async def test_events_and_workers_run_until_it_rests() -> None:
    service, begun, ended = Service("shop"), asyncio.Event(), asyncio.Event()

    @service.background
    async def deliver(micro: Any) -> None:
        assert micro is instance.resources
        assert current_service.get() == "shop"
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    events = Events()
    instance, _ = make(service, events)
    instance.work()
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        await events.running.wait()
    await instance.rest(3.0)
    await instance.rest(3.0)
    assert events.drained == [3.0]
    assert ended.is_set()


async def test_a_worker_that_fails_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    service, failed = Service("shop"), asyncio.Event()

    @service.background
    async def deliver(micro: Any) -> None:
        failed.set()
        raise OSError("no mail server")

    instance, _ = make(service)
    instance.work()
    async with asyncio.timeout(LIMIT):
        await failed.wait()
    await instance.stop()
    assert instance.restarts == 1
    assert "shop: deliver failed" in caplog.text


async def test_events_that_do_not_come_to_rest_keep_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    instance, _app = make(Service("shop"), Events(OSError("the disk is gone")))
    await instance.start()
    instance.work()
    await instance.stop(1.0)
    assert "did not come to rest" in caplog.text
    assert instance.unready() == "stopping"


async def test_a_worker_that_swallows_its_cancellation_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CANCELLATION", 0.05)
    service, begun, released = Service("shop"), asyncio.Event(), asyncio.Event()

    @service.background
    async def deaf(micro: Any) -> None:
        while not released.is_set():
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    instance, _ = make(service)
    instance.work()
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        await instance.stop()
    released.set()
    assert "shop: its work goes on though it was cancelled 0.05 s ago" in caplog.text


async def test_a_rest_that_is_interrupted_leaves_no_worker_running() -> None:
    class Stuck(Events):
        async def drain(self, timeout: float) -> bool:
            await asyncio.Event().wait()
            return True

    service, ended = Service("shop"), asyncio.Event()

    @service.background
    async def deliver(micro: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    events = Stuck()
    instance, _ = make(service, events)
    instance.work()
    await events.running.wait()
    resting = asyncio.create_task(instance.rest(10.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await resting
    assert ended.is_set()


class Consumer:
    consuming = True


class TestDeafness:
    """An instance that takes in no events is not ready: somebody has to look."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
        clock = FakeClock()
        monkeypatch.setattr(Resources, "clock", clock)
        return clock

    async def test_it_is_told_after_a_while_and_ends_by_itself(self, clock: FakeClock) -> None:
        events = Events()
        events.consumer = consumer = Consumer()
        instance, _ = make(Service("shop"), events)
        await instance.start()
        assert instance.unready() is None, "before it works there is nothing to hear"
        instance.work()
        consumer.consuming = False
        await clock.advance(DEAF - 0.1)
        assert instance.unready() is None
        await clock.advance(0.1)
        assert instance.unready() == "it takes in no events"
        consumer.consuming = True
        assert instance.unready() is None
        consumer.consuming = False
        await clock.advance(DEAF - 0.1)
        assert instance.unready() is None, "it was well in between"
        await instance.stop()
        assert instance.unready() == "stopping"

    async def test_a_service_that_takes_in_none_is_not_deaf(self, clock: FakeClock) -> None:
        instance, _ = make(Service("shop"), Events())
        await instance.start()
        instance.work()
        await clock.advance(10 * DEAF)
        assert instance.unready() is None
        await instance.stop()
