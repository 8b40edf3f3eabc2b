"""The task service by itself, and three people who use it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from micro.services.task.service import service
from micro.testing import FakeClock, ServiceHarness

NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def harness(tmp_path, open_database):
    """The service on an empty database."""
    clock = FakeClock()
    store = await open_database("task", clock)
    async with ServiceHarness(service, tmp_path, clock=clock, store=store) as harness:
        yield harness


@pytest.fixture
def nowhere():
    """A well-formed id of nothing."""
    return NOWHERE


@pytest.fixture
def make(harness):
    """`await make.task(ana, title=…)` and `await make.category(ana, name=…)`: create one; its JSON with its `etag`."""

    async def create(client, path, form):
        answer = await client.post(path, json=form)
        assert answer.status == 201, answer.body
        await harness.clock.advance(1)
        return answer.json() | {"etag": answer.headers["etag"]}

    async def task(client, **form):
        return await create(client, "/tasks", {"title": "Buy milk", **form})

    async def category(client, name="Shopping"):
        return await create(client, "/categories", {"name": name})

    return SimpleNamespace(task=task, category=category)
