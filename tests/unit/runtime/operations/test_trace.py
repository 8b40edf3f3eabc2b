"""A trace draws what one request led to, from the request to the last handler."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from micro.errors import UsageError
from micro.runtime.operations import trace as module

LIMIT = 60.0


def shape(nodes: list[dict[str, Any]]) -> Any:
    """Just kinds and names, nested."""
    return [
        (node["kind"], node.get("type") or node.get("state") or node.get("path"), shape(node["children"]))
        for node in nodes
    ]


WHOLE = [
    (
        "request",
        "/orders/one",
        [("event", "Ordered", [("handler", "handled", [("event", "Packed", [])])])],
    )
]


async def traced(running: Any, id: str, expected: Any) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT):
        while shape((found := await running.end("events.trace", id=id))["roots"]) != expected:
            pass
    return found


async def test_the_tree_goes_from_the_request_over_events_to_handlers(running: Any) -> None:
    request = await running.order("one")
    found = await traced(running, request, WHOLE)
    [root] = found["roots"]
    assert {"id": request, "method": "POST", "status": 201, "service": "shop"}.items() <= root.items()
    [event] = root["children"]
    assert {"topic": "shop.events", "key": "one", "service": "shop"}.items() <= event.items()
    [handler] = event["children"]
    assert handler["service"] == "crates"
    assert handler["time"].endswith("Z")


async def test_any_event_of_it_leads_to_the_whole_tree(running: Any) -> None:
    await running.order("one")
    await running.until("events.list", lambda items: len(items) == 2)
    for item in await running.items("events.list"):
        await traced(running, item["event"]["id"], WHOLE)


async def test_a_handler_that_gave_up_is_shown_with_its_error(running: Any) -> None:
    request = await running.order("x-ray")
    expected = [("request", "/orders/x-ray", [("event", "Ordered", [("handler", "dead", [])])])]
    found = await traced(running, request, expected)
    handler = found["roots"][0]["children"][0]["children"][0]
    assert handler["error"]["message"] == "it does not fit"
    assert handler["attempts"] == 2


async def test_an_event_without_a_known_cause_is_a_root(running: Any) -> None:
    item = await running.end("events.publish", topic="notes", type="Noted", key="a")
    await traced(running, item["event"]["id"], [("event", "Noted", [])])


async def test_of_an_unknown_id_or_of_what_is_too_old_nothing_is_found(running: Any) -> None:
    request = await running.order("one")
    await running.until("events.list", lambda items: len(items) == 2)
    assert await running.end("events.trace", id="nobody") == {"roots": []}
    assert await running.end("events.trace", id=request, since="0s") == {"roots": []}


async def test_a_tree_too_large_to_draw_is_refused(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_EVENTS", 1)
    request = await running.order("one")
    await running.until("events.list", lambda items: len(items) == 2)
    with pytest.raises(UsageError, match="--since"):
        await running.end("events.trace", id=request)
