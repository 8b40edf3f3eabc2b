"""The verbs about events, on a stack at work."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from micro.bus.message import Message
from micro.errors import BusUnavailable, NotFound, UsageError

LIMIT = 60.0


def words(items: list[dict[str, Any]]) -> list[Any]:
    return [item["event"]["data"]["word"] for item in items]


async def test_a_list_is_oldest_first_over_all_partitions_and_topics(running: Any) -> None:
    for word in ("one", "two", "three"):
        await running.order(word)
        await running.until("events.list", lambda items, w=word: w in words(items), topic="crate.events")
    assert words(await running.items("events.list", topic="shop.events")) == ["one", "two", "three"]
    assert words(await running.items("events.list")) == ["one", "one", "two", "two", "three", "three"]
    assert words(await running.items("events.list", topic="shop.events", limit=2)) == ["one", "two"]


async def test_a_list_is_filtered(running: Any) -> None:
    request = await running.order("one")
    await running.order("two")
    await running.until("events.list", lambda items: len(items) == 4)
    assert words(await running.items("events.list", type="Packed", key="two")) == ["two"]
    assert words(await running.items("events.list", correlation=request)) == ["one", "one"]
    assert await running.items("events.list", since="0s") == []
    assert len(await running.items("events.list", since="1h")) == 4


async def test_an_item_says_where_the_event_is(running: Any) -> None:
    await running.order("one")
    await running.until("events.list", lambda items: len(items) == 2)
    [item] = await running.items("events.list", topic="shop.events")
    assert item.keys() == {"topic", "partition", "offset", "event"}
    assert item["event"]["type"] == "Ordered"


async def test_what_is_no_event_is_listed_by_its_topic_only(running: Any) -> None:
    await running.system.shared.bus.publish([Message("raw", "k", b"\xff not an event")])
    [item] = await running.items("events.list", topic="raw")
    assert item["event"] is None
    assert await running.items("events.list", topic="raw", key="k") == []


async def test_a_tail_shows_what_comes_from_now_on_topics_that_come_later_included(running: Any) -> None:
    await running.end("events.publish", topic="notes", type="Noted", key="a", data={"word": "before"})
    async with aclosing(running.verbs["events.tail"]()) as tail, asyncio.timeout(LIMIT):
        first = asyncio.ensure_future(anext(tail))
        while not first.done():  # until the tail has begun
            await running.end("events.publish", topic="notes", type="Noted", key="a", data={"word": "now"})
        assert words([await first]) == ["now"]
        await running.end("events.publish", topic="later", type="Noted", key="a", data={"word": "new topic"})
        async for item in tail:
            if item["topic"] == "later":
                break
        assert words([item]) == ["new topic"]


async def test_a_tail_begins_in_the_past_and_goes_on_without_a_gap(running: Any) -> None:
    async def publish(number: int) -> None:
        await running.end(
            "events.publish", topic="notes", type="Noted", key=str(number % 5), data={"word": number}
        )

    for number in range(20):
        await publish(number)
    async with (
        aclosing(running.verbs["events.tail"](topic="notes", since="1h")) as tail,
        asyncio.timeout(LIMIT),
    ):
        for number in range(20, 30):
            await publish(number)
        seen = [await anext(tail) for _ in range(30)]
    assert sorted(words(seen)) == list(range(30))
    assert words(seen)[:20] == list(range(20))


async def test_a_tail_without_follow_ends(running: Any) -> None:
    await running.end("events.publish", topic="notes", type="Noted", key="a", data={"word": 1})
    assert words(await running.items("events.tail", follow=False)) == [1]
    assert words(await running.items("events.tail", since="1h", limit=1)) == [1]


async def test_closing_the_bus_ends_a_tail_with_its_error(running: Any) -> None:
    async with aclosing(running.verbs["events.tail"]()) as tail, asyncio.timeout(LIMIT):
        first = asyncio.ensure_future(anext(tail))
        while not first.done():
            await running.end("events.publish", topic="notes", type="Noted", key="a", data={})
        await running.system.shared.bus.close()
        with pytest.raises(BusUnavailable, match="closed"):
            while True:
                await anext(tail)


@pytest.mark.parametrize(
    "wrong", [{"key": ""}, {"key": "a\0"}, {"key": "a", "data": {"x": "\ud800"}}, {"key": 1}, {}]
)
async def test_an_event_that_cannot_be_carried_is_refused(running: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await running.end("events.publish", topic="notes", type="Noted", **wrong)


async def test_stats_say_what_waits_where(running: Any) -> None:
    await running.order("one")
    await running.until("events.list", lambda items: len(items) == 2)
    async with asyncio.timeout(LIMIT):
        while True:
            stats = await running.end("events.stats")
            [crates] = stats["subscribers"]
            if crates["lag"] == 0 and all(each["waiting"] == 0 for each in stats["outboxes"]):
                break
    assert {"subscriber": "crates", "topic": "shop.events", "parked": 0, "dead": 0}.items() <= crates.items()
    assert [each["service"] for each in stats["outboxes"]] == ["shop", "crates"]
    [topic] = [each for each in stats["topics"] if each["topic"] == "shop.events"]
    assert topic["events"] == 1
    assert topic["partitions"] == 12
    assert topic["newest"] is not None


async def test_a_replay_applies_past_events_again_and_a_dry_run_counts_them(running: Any) -> None:
    await running.order("one")
    await running.order("two")
    await running.until("events.list", lambda items: len(items) == 2, topic="crate.events")
    store = running.system.services["crates"].store
    async with store.transaction() as tx:
        await tx.execute("delete from orders")
    assert await running.end("events.replay", service="crates", dry_run=True) == {
        "service": "crates",
        "events": 2,
    }
    assert await store.query("select * from orders") == []
    done = await running.end("events.replay", service="crates", topic="shop.events", key="two", since="1h")
    assert done == {"service": "crates", "events": 1, "parked": 0}
    assert [row["word"] for row in await store.query("select word from orders")] == ["two"]


async def test_a_dry_run_counts_what_the_range_holds_only(running: Any) -> None:
    await running.order("one")
    await running.until("events.list", lambda items: len(items) == 2)
    for wanted, count in (
        ({"until": "1h"}, 0),
        ({"until": "0s"}, 1),
        ({"since": "0s"}, 0),
        ({"type": "Other"}, 0),
    ):
        plan = await running.end("events.replay", service="crates", dry_run=True, **wanted)
        assert plan["events"] == count, wanted


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"service": "crate"}, NotFound, "did you mean"),
        ({"service": "shop"}, UsageError, "subscribes to no events"),
        ({"service": "plain"}, UsageError, "subscribes to no events"),
        ({"service": "crates", "topic": "shop.event"}, NotFound, "did you mean"),
        ({}, UsageError, "service"),
    ],
)
async def test_a_replay_of_what_is_not_there_says_so(
    running: Any, wanted: dict[str, str], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await running.end("events.replay", **wanted)
