"""The gateway's one document is had from all services at the same time, and a slow one holds nobody up twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from micro.errors import StoreUnavailable
from micro.runtime.documents import Documents
from micro.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIMIT = 60.0


class Member:
    """Answers with `response`, once `free` is set."""

    def __init__(self, response: Response | None) -> None:
        self.response = response
        self.asked = 0
        self.heard = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    async def call(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        self.heard.set()
        await self.free.wait()
        if self.response is None:
            raise StoreUnavailable("nobody is there")
        await self.response(scope, receive, send)


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def documents(clock: FakeClock) -> Callable[..., Documents]:
    def make(members: Mapping[str, Member], **verdicts: str) -> Documents:
        return Documents(members, dict.fromkeys(members, "healthy") | verdicts, clock=clock)  # type: ignore[arg-type] # all that is used

    return make


async def test_each_healthy_service_is_asked_and_what_is_no_document_is_left_out(documents: Any) -> None:
    members = {
        "shop": Member(JSONResponse({"paths": {}})),
        "list": Member(JSONResponse([1])),
        "text": Member(PlainTextResponse("hello")),
        "none": Member(JSONResponse({}, status_code=404)),
        "away": Member(None),
        "sick": Member(JSONResponse({"paths": {}})),
    }
    reader = documents(members, sick="unhealthy")
    for count in (1, 2):
        assert await reader.read() == {"shop": {"paths": {}}}
        assert [each.asked for each in members.values()] == [count] * 5 + [0], (
            "who answers at once is asked again"
        )


async def test_they_are_asked_at_the_same_time(documents: Any) -> None:
    members = {name: Member(JSONResponse({"info": name})) for name in ("shop", "cart")}
    for each in members.values():
        each.free.clear()
    reading = asyncio.create_task(documents(members).read())
    async with asyncio.timeout(LIMIT):
        for each in members.values():
            await each.heard.wait()
    for each in members.values():
        each.free.set()
    assert set(await reading) == {"shop", "cart"}


async def test_nobody_waits_for_one_that_gave_none_in_time_for_half_a_minute(
    documents: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micro.runtime.documents._LIMIT", 0.01)
    slow, shop = Member(JSONResponse({"info": "slow"})), Member(JSONResponse({"info": "shop"}))
    slow.free.clear()
    reader = documents({"slow": slow, "shop": shop})
    assert set(await reader.read()) == {"shop"}
    slow.free.set()
    await clock.advance(29.9)
    assert set(await reader.read()) == {"shop"}
    assert (slow.asked, shop.asked) == (1, 2)
    await clock.advance(0.2)
    monkeypatch.setattr("micro.runtime.documents._LIMIT", LIMIT)
    assert set(await reader.read()) == {"shop", "slow"}
