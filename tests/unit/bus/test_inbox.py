"""Which events a subscriber has taken over."""

from __future__ import annotations

import math

import pytest

from micro.bus.inbox import RETENTION, Inbox
from micro.bus.memory_log import RETENTION as LOG_RETENTION


@pytest.fixture
def inbox(clock):
    return Inbox("crm", clock=clock)


DAY = 86_400.0


def log_from(moment):
    """What a log says whose first record is from then."""

    async def oldest():
        return moment

    return oldest


async def known(store):
    rows = await store.query("select event_id, handled_at from micro_inbox order by event_id")
    return {row[0]: row[1] for row in rows}


async def test_an_event_is_claimed_once(store, inbox):
    async with store.transaction() as tx:
        assert await inbox.claim(tx, ["a", "b"]) == {"a", "b"}
    async with store.transaction() as tx:
        assert await inbox.claim(tx, ["b", "c"]) == {"c"}


async def test_a_duplicate_within_one_claim_is_claimed_once(store, inbox):
    async with store.transaction() as tx:
        assert await inbox.claim(tx, ["a", "a"]) == {"a"}
    assert list(await known(store)) == ["a"]


async def test_a_claim_that_is_rolled_back_never_was(store, inbox):
    with pytest.raises(RuntimeError):
        async with store.transaction() as tx:
            await inbox.claim(tx, ["a"])
            raise RuntimeError
    async with store.transaction() as tx:
        assert await inbox.claim(tx, ["a"]) == {"a"}


async def test_subscribers_do_not_share_claims(store, inbox, clock):
    async with store.transaction() as tx:
        await inbox.claim(tx, ["a"])
        assert await Inbox("other", clock=clock).claim(tx, ["a"]) == {"a"}


async def test_a_parked_event_is_claimed_but_not_handled_until_it_is_settled(store, inbox, clock):
    async with store.transaction() as tx:
        await inbox.claim(tx, ["a", "b"])
        await inbox.hold(tx, "a")
    now = clock.now().timestamp()
    assert await known(store) == {"a": None, "b": now}
    await clock.advance(5)
    async with store.transaction() as tx:
        await inbox.settle(tx, "a")
    assert await known(store) == {"a": now + 5, "b": now}


async def test_forgetting_spares_what_is_parked(store, inbox):
    async with store.transaction() as tx:
        await inbox.claim(tx, ["a", "b", "c"])
        await inbox.hold(tx, "a")
        await inbox.forget(tx, ["a", "b"])
        assert await inbox.claim(tx, ["a", "b", "c"]) == {"b"}


def test_events_are_remembered_for_longer_than_the_log_keeps_them():
    assert RETENTION >= LOG_RETENTION + 86_400


async def test_purging_drops_what_is_old_in_small_batches_and_spares_what_is_parked(store, inbox, clock):
    for start in range(0, 1200, 400):
        async with store.transaction() as tx:
            await inbox.claim(tx, [f"old{n:04}" for n in range(start, start + 400)])
    async with store.transaction() as tx:
        await inbox.hold(tx, "old0007")
    await clock.advance(RETENTION + 1)
    async with store.transaction() as tx:
        await inbox.claim(tx, ["new"])
    await inbox.purge(store, log_from(math.inf))
    assert set(await known(store)) == {"new", "old0007"}


async def test_what_the_log_still_has_is_not_forgotten_however_old_it_is(store, inbox, clock):
    """A bus may keep events for longer than we remember them otherwise, and give them again from the first on."""
    start = clock.now().timestamp()
    for id in "abc":
        async with store.transaction() as tx:
            await inbox.claim(tx, [id])
        await clock.advance(DAY)
    await clock.advance(20 * DAY)
    await inbox.purge(store, log_from(-math.inf))
    await inbox.purge(store, log_from(start))
    assert set(await known(store)) == {"a", "b", "c"}
    await inbox.purge(store, log_from(start + 2.5 * DAY))
    assert set(await known(store)) == {"c"}, "but for a day in which clocks may differ"


async def test_the_log_is_not_asked_while_there_is_nothing_to_drop(store, inbox, clock):
    async def oldest():
        raise AssertionError("asked")

    async with store.transaction() as tx:
        await inbox.claim(tx, ["a"])
    await clock.advance(RETENTION - 1)
    await inbox.purge(store, oldest)
    assert set(await known(store)) == {"a"}
