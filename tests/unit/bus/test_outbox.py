"""Events leave only through rows of the transaction that caused them."""

from __future__ import annotations

import pytest

from micro.bus.codec import decode
from micro.bus.message import Event, Message
from micro.bus.origin import MAX_KEY, Origin
from micro.bus.outbox import BUCKETS, Outbox, bucket_of, pack_headers, unpack_headers
from micro.clock import SystemClock
from micro.context import Context, current
from micro.errors import ConfigurationError, EventTooLarge
from micro.ids import is_id, is_traceparent


class Undeclared(Event, topic="order.events"):
    n: int


async def rows(store):
    found = await store.query("select bucket, topic, key, value, headers from micro_outbox order by seq")
    return [Message(row[1], row[2], row[3], unpack_headers(row[4])) for row in found]


async def test_a_row_is_written_with_the_commit_and_holds_the_whole_event(store, outbox, placed, clock):
    async with store.transaction() as tx:
        id = outbox.add(tx, placed(n=7), "order 1")
        assert await store.query("select * from micro_outbox") == []
    [message] = await rows(store)
    event = decode(message)
    assert is_id(id)
    assert event.id == id
    assert (event.source, event.type, event.topic, event.key) == (
        "shop",
        "OrderPlaced",
        "order.events",
        "order 1",
    )
    assert (event.version, event.data, event.time) == (1, {"n": 7}, "2026-01-01T00:00:00.000Z")
    assert dict(message.headers)["ce_id"] == id.encode()


async def test_a_rolled_back_transaction_leaves_nothing(store, outbox, placed):
    with pytest.raises(RuntimeError):
        async with store.transaction() as tx:
            outbox.add(tx, placed(n=7), "order 1")
            raise RuntimeError
    assert await rows(store) == []


async def test_events_of_one_transaction_keep_their_order(store, emit):
    await emit("a", "b", "a", "c")
    assert [decode(message).data["n"] for message in await rows(store)] == [0, 1, 2, 3]


async def test_a_type_that_the_service_does_not_declare_is_refused_and_named(store, outbox):
    async with store.transaction() as tx:
        with pytest.raises(ConfigurationError, match=r"shop emits Undeclared.*publishes=\["):
            outbox.add(tx, Undeclared(n=1), "k")
    assert await rows(store) == []


async def test_an_event_too_large_is_refused_before_anything_is_stored(store, clock, placed):
    outbox = Outbox("shop", clock=clock, max_bytes=100, publishes=[placed])
    async with store.transaction() as tx:
        with pytest.raises(EventTooLarge, match=r"order.events: an event of [\d,]+ bytes; the bus takes 100"):
            outbox.add(tx, placed(n=1), "k")
    assert await rows(store) == []


@pytest.mark.parametrize("key", ["", "a\0b", "x" * (MAX_KEY + 1)], ids=["empty", "nul", "long"])
async def test_a_key_that_no_index_could_hold_is_a_value_error(store, outbox, placed, key):
    async with store.transaction() as tx:
        with pytest.raises(ValueError, match="a key is 1 to 255 characters"):
            outbox.add(tx, placed(n=1), key)


async def test_an_event_inherits_correlation_cause_and_trace(store, outbox, placed):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    mark = current.set(Context(correlation_id="c", causation_id="request", traceparent=parent))
    try:
        async with store.transaction() as tx:
            outbox.add(tx, placed(n=1), "k")
    finally:
        current.reset(mark)
    [event] = map(decode, await rows(store))
    assert (event.correlation_id, event.causation_id) == ("c", "request")
    assert event.traceparent.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert event.traceparent.endswith("-01")
    assert event.traceparent != parent


def test_an_event_without_a_cause_is_the_root_of_its_own_tree(clock):
    event = Origin("cron", clock).event("t", "Tick", {}, key="k")
    assert event.correlation_id == event.causation_id == event.id
    assert is_traceparent(event.traceparent)


def test_waking_sets_the_hint(outbox):
    assert not outbox.committed.is_set()
    outbox.wake()
    assert outbox.committed.is_set()


def test_the_bucket_of_a_key_never_changes():
    """Rows written by one release are read by the next."""
    assert [bucket_of(key) for key in ("", "a", "order 1", "clé")] == [0, 3, 34, 52]
    assert {bucket_of(f"key{n}") for n in range(2000)} == set(range(BUCKETS))


def test_headers_survive_their_column():
    headers = (("one", b"\x00\xff"), ("zwei ü", b""))
    assert unpack_headers(pack_headers(headers)) == headers


def test_the_system_clock_gives_different_ids():
    origin = Origin("s", SystemClock())
    assert origin.event("t", "T", {}, key="k").id != origin.event("t", "T", {}, key="k").id
