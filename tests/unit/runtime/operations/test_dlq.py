"""The verbs about dead letters, over all services."""

from __future__ import annotations

from typing import Any

import pytest

from micro.errors import NotFound, UsageError


@pytest.fixture
async def dead(running: Any) -> Any:
    """A stack with two dead letters of `crates`."""
    await running.order("x-ray")
    await running.order("xylophone")
    await running.until("dlq.list", lambda items: len(items) == 2)
    return running


def keys(items: list[dict[str, Any]]) -> list[str]:
    return [item["key"] for item in items]


async def test_a_letter_says_whose_it_is_and_why(dead: Any) -> None:
    first, _ = await dead.items("dlq.list")
    assert {
        "service": "crates",
        "topic": "shop.events",
        "type": "Ordered",
        "key": "x-ray",
        "attempts": 2,
        "exception": "ValueError",
        "message": "it does not fit",
    }.items() <= first.items()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"limit": 1}, ["x-ray"]),
        ({"limit": 0}, ["x-ray", "xylophone"]),
        ({"service": "shop"}, []),
        ({"exception": "ValueError", "type": "Ordered", "topic": "shop.events"}, ["x-ray", "xylophone"]),
        ({"exception": "KeyError"}, []),
    ],
)
async def test_a_list_is_filtered(dead: Any, wanted: dict[str, Any], found: list[str]) -> None:
    assert keys(await dead.items("dlq.list", **wanted)) == found


async def test_one_can_be_inspected(dead: Any) -> None:
    first, _ = await dead.items("dlq.list")
    letter = await dead.end("dlq.inspect", id=first["id"])
    assert letter["service"] == "crates"
    assert "it does not fit" in letter["stack"]
    assert letter["event"]["data"] == {"word": "x-ray"}
    with pytest.raises(NotFound, match="micro dlq list"):
        await dead.end("dlq.inspect", id="nobody")
    with pytest.raises(NotFound, match="did you mean"):
        await dead.end("dlq.inspect", id=first["id"], service="crate")


async def test_where_several_services_gave_up_on_an_event_one_must_be_named(dead: Any) -> None:
    first, _ = await dead.items("dlq.list")
    services = dead.system.services
    services["twin"] = services["crates"]
    with pytest.raises(UsageError, match="crates and twin gave up"):
        await dead.end("dlq.inspect", id=first["id"])
    assert (await dead.end("dlq.inspect", id=first["id"], service="twin"))["service"] == "twin"
    del services["twin"]


async def test_a_dry_run_says_what_would_be_done_and_does_nothing(dead: Any) -> None:
    plan = await dead.end("dlq.purge", everything=True, dry_run=True)
    assert keys(plan["items"]) == ["x-ray", "xylophone"]
    assert len(await dead.items("dlq.list")) == 2


async def test_a_letter_that_is_skipped_is_gone(dead: Any) -> None:
    first, second = await dead.items("dlq.list")
    done = await dead.end("dlq.skip", ids=[first["id"]])
    assert [item["outcome"] for item in done["items"]] == ["dropped"]
    assert keys(await dead.items("dlq.list")) == [second["key"]]


async def test_all_can_be_purged(dead: Any) -> None:
    done = await dead.end("dlq.purge", everything=True, service="crates")
    assert len(done["items"]) == 2
    assert await dead.items("dlq.list") == []


async def test_a_replay_that_fails_again_leaves_the_letter_with_the_reason(dead: Any) -> None:
    done = await dead.end("dlq.replay", everything=True)
    assert {item["outcome"] for item in done["items"]} == {"failed"}
    assert len(await dead.items("dlq.list")) == 2


async def test_a_change_needs_a_choice(dead: Any) -> None:
    with pytest.raises(UsageError, match="Name ids, or say all"):
        await dead.end("dlq.purge", service="crates")


async def test_an_unknown_id_stops_the_change_before_it_begins(dead: Any) -> None:
    first, _ = await dead.items("dlq.list")
    with pytest.raises(NotFound, match="no dead letter nobody"):
        await dead.end("dlq.purge", ids=[first["id"], "nobody"])
    assert len(await dead.items("dlq.list")) == 2
