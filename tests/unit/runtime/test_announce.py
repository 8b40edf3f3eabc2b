"""Events about instances are told on the bus as well as it goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from micro.bus.codec import decode
from micro.errors import BusUnavailable
from micro.runtime.announce import TOPIC, Announcer
from micro.testing import FakeClock


class Bus:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.error: Exception | None = None
        self.published = asyncio.Event()

    async def publish(self, messages: Any) -> list[Any]:
        if self.error:
            raise self.error
        self.messages += messages
        self.published.set()
        return []


@pytest.fixture
async def bus() -> Bus:
    return Bus()


@pytest.fixture
def announcer(bus: Bus) -> Announcer:
    return Announcer(bus, clock=FakeClock())  # type: ignore[arg-type] # it only publishes


@pytest.mark.parametrize(
    ("what", "type"),
    [
        ("started", "InstanceStartedEvent"),
        ("stopped", "InstanceStoppedEvent"),
        ("healthy", "InstanceHealthyEvent"),
        ("unhealthy", "InstanceUnhealthyEvent"),
    ],
)
async def test_each_is_an_event_of_its_service(announcer: Announcer, bus: Bus, what: str, type: str) -> None:
    announcer.tell("task", what)
    await announcer.flush()
    event = decode(bus.messages[0])
    assert (event.topic, event.type, event.key, event.data["instance"]) == (TOPIC, type, "task", "task-1")


async def test_news_is_published_as_it_comes(announcer: Announcer, bus: Bus) -> None:
    running = asyncio.create_task(announcer.run())
    for count in (1, 2):
        bus.published.clear()
        announcer.tell("task", "healthy")
        async with asyncio.timeout(60):
            await bus.published.wait()
        assert len(bus.messages) == count
    running.cancel()


async def test_what_cannot_be_published_is_said_and_forgotten(
    announcer: Announcer, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    bus.error = BusUnavailable("the bus is closed")
    announcer.tell("task", "stopped")
    await announcer.flush()
    await announcer.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "1 events about instances were not published: the bus is closed"
    ]


async def test_the_process_of_another_program_is_its_own(announcer: Announcer, bus: Bus) -> None:
    announcer.tell("sms", "started", pid=42)
    await announcer.flush()
    assert decode(bus.messages[0]).data == {"service": "sms", "instance": "sms-1", "pid": 42}


@pytest.mark.parametrize(
    ("what", "type"),
    [
        ("healthy", "InstanceHealthyEvent"),
        ("unhealthy", "InstanceUnhealthyEvent"),
        ("ejected", "InstanceEjectedEvent"),
        ("returned", "InstanceReturnedEvent"),
        ("opened", "BreakerOpenedEvent"),
        ("closed", "BreakerClosedEvent"),
    ],
)
async def test_what_a_cluster_says_of_an_instance_is_an_event_of_its_service(
    announcer: Announcer, bus: Bus, what: str, type: str
) -> None:
    announcer.tell_of("far", "10.0.0.5:9000", what)
    await announcer.flush()
    event = decode(bus.messages[0])
    assert (event.topic, event.type, event.key) == (TOPIC, type, "far")
    assert event.data == {"service": "far", "instance": "10.0.0.5:9000"}


@pytest.mark.parametrize(("what", "type"), [("panic", "PanicStartedEvent"), ("calm", "PanicEndedEvent")])
async def test_what_it_says_of_all_of_them_names_none(
    announcer: Announcer, bus: Bus, what: str, type: str
) -> None:
    announcer.tell_of("far", "", what)
    await announcer.flush()
    event = decode(bus.messages[0])
    assert (event.type, event.data) == (type, {"service": "far"})
