"""Dead letters are handled again, and past events replayed, while everything goes on."""

from __future__ import annotations

from collections import Counter

from faults.evidence import CONSUMERS


def redrive(world, load):
    """While the handlers are broken, when they are mended, and from two places at once."""
    world.until(lambda: letters(world, load), "there are dead letters")
    assert {outcome for _, outcome in replayed(world, everything=True)} == {"failed"}
    world.rest(world.pick(0.5, 20))
    world.broken.unlink()
    done = Counter()

    def none_left():
        done.update(id for id, outcome in replayed(world, everything=True) if outcome == "applied")
        return not letters(world, load)

    world.until(none_left, "every dead letter was handled")
    assert set(done.values()) == {1}, "I7: each of them once"
    return f"{len(done)} dead letters replayed"


def replay(world, load):
    """The events of one key go through a subscriber again, while it is busy with the others."""
    key = f"{load.name}.0.0"
    return f"{world.stack.ask('events.replay', service='first', key=key)[1]['events']} events applied again"


def positions_stay(world, load):
    """Nothing else going on, a replay moves no position."""
    read = world.with_log
    world.until(lambda: at_the_end(world), "everybody has caught up")
    before = read(lambda bus: bus.positions())
    world.stack.ask("events.replay", service="first", key=f"{load.name}.0.1")
    after = read(lambda bus: bus.positions())
    assert all(before[name] == after[name] for name in CONSUMERS), "I8: live positions stay"


def at_the_end(world):
    """Whether no subscriber has anything before it."""
    rows = world.stack.ask("events.stats")[1]["subscribers"]
    return not any(row[what] for row in rows for what in ("lag", "parked", "in_flight"))


def letters(world, load):
    """Dead letters of this scenario."""
    return [
        each for each in world.stack.ask("dlq.list", limit=0)[0] if each["key"].startswith(f"{load.name}.")
    ]


def replayed(world, **which):
    """Id and outcome of each that was tried."""
    return [(each["id"], each.get("outcome")) for each in world.stack.ask("dlq.replay", **which)[0]]
