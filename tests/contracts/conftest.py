"""Three services side by side, each with its own database; events are carried from one to the other as JSON."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from micro.services.notification.service import service as notification_service
from micro.services.task.service import service as task_service
from micro.services.user.service import service as user_service
from micro.testing import FakeClock
from micro.testing.harness import ServiceHarness


@pytest.fixture
def clock():
    """One clock for all."""
    return FakeClock()


@pytest.fixture
async def user(tmp_path, clock):
    """The user service."""
    async with ServiceHarness(user_service, tmp_path, clock=clock) as harness:
        yield harness


@pytest.fixture
async def task(tmp_path, clock):
    """The task service."""
    async with ServiceHarness(task_service, tmp_path, clock=clock) as harness:
        yield harness


@pytest.fixture
async def notification(tmp_path, clock):
    """The notification service."""
    async with ServiceHarness(notification_service, tmp_path, clock=clock) as harness:
        yield harness


@pytest.fixture
def carry():
    """Hands a producer's events, as they stand in its outbox, to the consumer's handlers; gives those handled."""

    async def carry(producer, consumer):
        handled = []
        for event in await producer.emitted():
            for handler in consumer.service.handlers:
                if (handler.type, handler.topic) == (event.type, event.topic):
                    async with consumer.micro.transaction() as tx:
                        await handler.handle(event, tx)
                    handled.append(event.type)
        return handled

    return carry


@pytest.fixture
def services():
    """All built-in services, by name."""
    return {each.name: each for each in (user_service, task_service, notification_service)}


@pytest.fixture
def register(user, clock):
    """Registers somebody with the user service; gives their id and a client of theirs."""

    async def register(email="ana@example.com", name="Ana"):
        form = {"email": email, "name": name, "password": "correct horse"}
        answer = await user.anonymous.post("/users", json=form)
        assert answer.status == 201, answer.body
        await clock.advance(1)
        id = answer.json()["id"]
        return SimpleNamespace(id=id, client=user.as_user(id))

    return register
