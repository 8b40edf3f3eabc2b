"""One relay at a time sends a bucket."""

from __future__ import annotations

import pytest

from micro.bus.lease import Lease
from micro.bus.outbox import BUCKETS
from micro.store.ports import StoreFeatures
from micro.testing.faults import FaultyStore

ALL = frozenset(range(BUCKETS))


@pytest.fixture
def shared(store):
    """The store as if several processes could open it."""
    faulty = FaultyStore(store, lambda point: None)
    faulty.features = StoreFeatures(
        concurrent_writers=True, survives_power_loss=True, shared_by_processes=True
    )
    return faulty


@pytest.fixture
def private(store):
    """The store as if one process had it for itself."""
    faulty = FaultyStore(store, lambda point: None)
    faulty.features = StoreFeatures(
        concurrent_writers=False, survives_power_loss=True, shared_by_processes=False
    )
    return faulty


@pytest.fixture
def lease_of(shared, clock):
    return lambda owner="a", store=shared: Lease(store, clock=clock, owner=owner)


async def rows(store):
    found = await store.query(
        "select owner, token, expires_at from micro_lease group by owner, token, expires_at"
    )
    return [tuple(row) for row in found]


async def test_the_first_takes_every_bucket(lease_of, store):
    lease = lease_of()
    assert not lease.fresh
    assert await lease.claim(), "what is held has changed"
    assert lease.held == ALL
    assert lease.fresh
    assert len(await rows(store)) == 1


async def test_renewing_keeps_the_token_and_says_that_nothing_changed(lease_of, store, clock):
    lease = lease_of()
    await lease.claim()
    proof = lease.proof
    await clock.advance(6)
    assert not lease.fresh
    assert not await lease.claim()
    assert lease.proof == proof
    [(_, _, expires)] = await rows(store)
    assert expires == clock.now().timestamp() + 15


async def test_several_come_to_equal_parts_that_never_overlap(lease_of, clock):
    leases = [lease_of(name) for name in "abc"]
    for _ in range(4):
        await clock.advance(6)
        for lease in leases:
            await lease.claim()
            assert sum(len(each.held) for each in leases) == len(
                frozenset().union(*(each.held for each in leases))
            )
    assert sorted(len(lease.held) for lease in leases) == [20, 22, 22]
    assert not any(lease.whole for lease in leases)
    assert [await lease.claim() for lease in leases] == [False] * 3, "and stay there"


async def test_the_part_of_one_that_dies_comes_to_the_others(lease_of, clock):
    alive, dead = lease_of("a"), lease_of("b")
    for _ in range(2):
        for lease in (alive, dead):
            await lease.claim()
    await clock.advance(10)
    await alive.claim()
    assert len(alive.held) == 32
    await clock.advance(5.1)
    await alive.claim()
    assert alive.whole


async def test_the_part_of_one_that_leaves_comes_to_the_others_at_once(lease_of):
    stays, leaves = lease_of("a"), lease_of("b")
    for lease in (stays, leaves, stays, leaves):
        await lease.claim()
    await leaves.release()
    await stays.claim()
    assert stays.whole


async def test_what_is_not_renewed_is_taken_over_with_a_higher_token(lease_of, clock):
    zombie, heir = lease_of("a"), lease_of("b")
    await zombie.claim()
    await clock.advance(15.1)
    await heir.claim()
    assert heir.held == ALL
    assert heir.proof[1] > zombie.proof[1]
    assert await zombie.claim(), "and learns that it lost"
    assert zombie.held == frozenset()


async def test_one_that_comes_back_under_its_name_goes_on_at_once_and_with_its_whole_part(lease_of):
    dead, other, again = lease_of("a"), lease_of("a2"), lease_of("a")
    for lease in (dead, other, dead, other):
        await lease.claim()
    before = dead.held
    await again.claim()
    assert again.held == before, "nothing of the other's"
    assert again.proof[0] != dead.proof[0], "the same name in another life is another owner"
    assert again.proof[1] > dead.proof[1]
    await dead.claim()
    assert not dead.held & again.held, "one that isn't dead after all learns that it lost"


async def test_a_claim_written_by_a_clock_that_had_jumped_ahead_outlives_nobody(lease_of, store, clock):
    gone, heir = lease_of("a"), lease_of("b")
    await gone.claim()
    async with store.transaction() as tx:
        for table in ("micro_lease", "micro_relay"):
            await tx.execute(f"update {table} set expires_at = expires_at + 3600")  # noqa: S608 - both are ours
    await heir.claim()
    assert heir.whole


async def test_what_is_released_is_free_at_once(lease_of):
    first, second = lease_of("a"), lease_of("b")
    await first.claim()
    await first.release()
    assert first.held == frozenset()
    assert not first.fresh
    await second.claim()
    assert second.held == ALL


async def test_releasing_what_is_not_held_takes_nothing_from_others(lease_of, clock):
    first, second = lease_of("a"), lease_of("b")
    await first.claim()
    await clock.advance(16)
    await second.claim()
    await first.release()
    await clock.advance(1)
    assert not await second.claim()
    assert second.held == ALL


async def test_buckets_that_others_hold_are_left_to_them(lease_of, store, clock):
    until = clock.now().timestamp() + 15
    async with store.transaction() as tx:
        await tx.execute("update micro_lease set owner = 'b', expires_at = ? where bucket < 10", until)
    lease = lease_of("a")
    await lease.claim()
    assert lease.held == ALL - set(range(10))
    assert await lease.claim() is False
    async with store.transaction() as tx:
        await tx.execute("update micro_lease set expires_at = 0.0 where bucket < 10")
    assert await lease.claim()
    assert lease.held == ALL


async def test_in_a_file_of_one_process_the_dead_owner_is_not_waited_for(lease_of, private):
    await lease_of("a", private).claim()
    again = lease_of("a", private)
    await again.claim()
    assert again.held == ALL


async def test_but_two_living_relays_of_one_process_do_not_steal_from_each_other(lease_of, private):
    first, second = lease_of("a", private), lease_of("b", private)
    await first.claim()
    await second.claim()
    assert await first.claim()
    assert first.held == frozenset()
    assert not await second.claim()
    assert second.held == ALL


async def test_doubt_makes_sure_before_the_next_use(lease_of):
    lease = lease_of()
    await lease.claim()
    lease.doubt()
    assert not lease.fresh
