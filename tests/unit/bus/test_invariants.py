"""I1 to I7 of the event path, with a crash or an error at every point of it.

A crash is a point from which nothing returns: all tasks are cancelled, all files closed, and a new world opens them.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from micro.bus.letters import Letters
from micro.errors import BusUnavailable, StoreUnavailable
from micro.testing.faults import fail_at

KEYS = "abcab"
POINTS = {
    "before_commit": StoreUnavailable,
    "after_commit": None,
    "before_send": BusUnavailable,
    "before_append": StoreUnavailable,
    "after_append": StoreUnavailable,
    "after_send": BusUnavailable,
    "after_acknowledge": BusUnavailable,
    "before_mark": StoreUnavailable,
    "after_mark": StoreUnavailable,
    "after_fetch": RuntimeError,
    "after_handler": StoreUnavailable,
    "after_inbox_commit": StoreUnavailable,
    "before_position": BusUnavailable,
    "after_position": BusUnavailable,
}
"""Each point of `micro.testing.faults`, and what may be raised there."""


async def work(w, rounds=8):
    """Commit events of a few keys; a transaction that fails is the caller's to repeat, here it is not."""
    for n in range(rounds):
        try:
            await w.emit(*KEYS, n=n * len(KEYS))
        except StoreUnavailable:
            continue


async def everything_applied(w):
    placed = {row[0] for row in await w.placed()}
    return placed <= {row[0] for row in await w.applied()}


async def positions_stored(w):
    """All that is in the log is done with, so the next run would begin at its end."""
    return not sum((await w.consuming.stats())["lag"].values())


async def work_until(w, crashed):
    """Run the whole of it, with events without end, until `crashed`, which is awaited, returns."""
    w.start()
    working = asyncio.create_task(work(w, rounds=1000))
    await crashed
    working.cancel()
    await asyncio.wait([working])


async def assert_invariants(w, *, duplicates):
    placed, applied, wire = await w.placed(), await w.applied(), Counter(await w.on_the_wire())
    ids = [row[0] for row in placed]
    assert {row[0] for row in applied} >= set(ids), "I1: every committed event is applied"
    assert {row[0] for row in applied} | set(wire) <= set(ids), "I2: no event without its state"
    assert max(Counter(row[0] for row in applied).values()) == 1, "I3: applied once"
    for key in set(KEYS):
        committed = [row[0] for row in placed if row[1] == key]
        assert [row[0] for row in applied if row[1] == key] == committed, "I4: in the order of the commits"
    if not duplicates:
        assert set(wire.values()) == {1}, "I5: duplicates on the wire come from faults only"
    assert len(ids) >= 10, "I12: the run was about something"


async def test_without_a_fault_everything_holds_and_nothing_is_sent_twice(world, until):
    w = await world()
    w.start()
    await work(w)
    await until(lambda: everything_applied(w))
    assert await w.emitting.drain(10)
    await assert_invariants(w, duplicates=False)


@pytest.mark.parametrize("visit", [1, 3])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_any_point_loses_nothing_and_applies_nothing_twice(world, until, point, visit):
    w, visits, crashed = await world(), 0, asyncio.Event()

    async def crash(reached, w=w):
        nonlocal visits
        visits += reached == point
        if crashed.is_set() or (reached == point and visits == visit):
            crashed.set()
            await w.hang()

    w.at = crash
    await work_until(w, until(crashed.is_set))
    w = await world()
    w.start()
    await work(w)
    await until(lambda: everything_applied(w))
    await assert_invariants(w, duplicates=True)
    await until(lambda: positions_stored(w))


@pytest.mark.parametrize("point", [point for point, error in POINTS.items() if error is not None])
async def test_an_error_at_any_point_loses_nothing_and_applies_nothing_twice(world, until, point):
    w = await world()
    w.at = fail_at(point, POINTS[point]("injected"), times=3)
    w.start()
    await work(w)
    if point == "after_fetch":  # what was fetched and dropped comes again with the next run
        await work(w)
    await until(lambda: everything_applied(w))
    await assert_invariants(w, duplicates=True)


async def test_crash_after_crash_under_load(world, until):
    """F2: each run is cut off somewhere, and the next goes on."""
    w = await world()
    for run in range(10):
        seen, cut = 0, asyncio.Event()

        async def at(reached, limit=run * 7 + 5, cut=cut, w=w):
            nonlocal seen
            seen += 1
            if seen >= limit:
                cut.set()
                await w.hang()

        w.at = at
        await work_until(w, until(cut.is_set))
        w = await world()
    w.start()
    await work(w)
    await until(lambda: everything_applied(w))
    await assert_invariants(w, duplicates=True)


async def test_the_stored_position_is_never_above_what_is_applied(world, until):
    """I6: whatever lies below a position when it is stored is in the inbox."""
    w, checked = await world(), []

    async def look(point):
        if point != "after_position":
            return
        applied = {row[0] for row in await w.applied()}
        for partition, offset in (await w.bus.positions())["crm"].items():
            below = await w.bus.read(partition, 0, limit=offset) if offset else []
            checked.extend(dict(record.message.headers)["ce_id"].decode() in applied for record in below)

    w.at = look
    w.start()
    for n in range(30):
        await w.emit(*KEYS, n=n)
    await until(lambda: everything_applied(w))
    await until(lambda: positions_stored(w))
    await until(lambda: checked)
    assert all(checked)


async def test_every_dead_letter_is_reachable_and_redrive_applies_it_once_in_order(world, until):
    """I7."""
    w = await world()
    bad = {3, 7, 11, 20}

    def fails(event):
        if event.data["n"] in bad:
            raise ValueError("bad")

    w.fails = fails
    w.start()
    await work(w)

    async def dead():
        return len(await w.consuming.parking.list()) >= 3

    await until(dead, step=20)
    letters = await w.consuming.parking.list()
    for letter in letters:
        assert (await w.consuming.parking.inspect(letter["id"]))["event"]["id"] == letter["id"]
    bad.clear()
    outcomes = [each async for each in w.consuming.parking.replay(Letters(every=True))]
    assert {outcome.outcome for outcome in outcomes} == {"applied"}
    await until(lambda: everything_applied(w))
    await assert_invariants_of_applied(w)


async def assert_invariants_of_applied(w):
    placed, applied = await w.placed(), await w.applied()
    assert max(Counter(row[0] for row in applied).values()) == 1
    for key in set(KEYS):
        assert [r[0] for r in applied if r[1] == key] == [r[0] for r in placed if r[1] == key]


async def test_the_wall_clock_may_jump_either_way(world, until, clock):
    """F9."""
    w = await world()
    w.start()
    for n, jump in enumerate([86_400, -2 * 86_400, 5 * 86_400, -4 * 86_400]):
        clock.jump(jump)
        await w.emit(*KEYS, n=n * len(KEYS))
        await until(lambda: everything_applied(w))
    await assert_invariants(w, duplicates=False)
