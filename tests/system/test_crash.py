"""kill -9 at each named point of an event's way, then the invariants I1 to I7, from evidence on both ends.

A client notes what it saw committed; the files that a killed stack leaves, and those of the drained stack after it, say
what was committed, sent and applied (see `ledger.services`). MICRO_CRASH_ROUNDS=50 kills longer at random moments.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial

import pytest
from ledger.world import MOST

from micro.clock import SystemClock
from micro.errors import MicroError

ROUNDS = int(os.environ.get("MICRO_CRASH_ROUNDS", "5"))
"""How often the stack is killed at random moments."""
POINTS = [
    "before_commit",
    "after_commit",
    "before_send",
    "after_append",
    "after_acknowledge",
    "before_mark",
    "after_mark",
    "after_fetch",
    "after_handler",
    "after_inbox_commit",
    "before_position",
    "after_position",
    "before_park",
    "after_park",
    "before_reschedule",
    "after_reschedule",
    "before_redrive",
    "after_redrive",
]
SENT_TWICE = {"after_append", "after_acknowledge", "before_mark"}
"""Where the log has a batch and the outbox still has its rows: it must come twice."""


def kill_under_load(stack, client, *, after):
    """Four clients at once; killed when so many of their requests were answered."""
    enter = partial(client.enter_until_it_dies, stack, burst=MOST)
    clients = [threading.Thread(target=enter) for _ in range(4)]
    enough = len(client.seen) + after
    for each in clients:
        each.start()
    client.wait_for(enough)
    stack.kill()
    for each in clients:
        each.join()


def kill_while_it_starts(stack, milliseconds):
    with pytest.raises(TimeoutError):
        stack.exit_code(milliseconds / 1000)
    stack.kill()


def test_without_a_fault_everything_holds_and_nothing_is_sent_twice(world):
    stack = world.up()
    world.client.enter_some(stack, 40)
    world.has_dead_letters(stack)
    world.drain(stack)
    stack.stop()
    found = world.evidence()
    found.check_drained(world.client)
    assert len(found.committed) == len(world.client.ids) > 60
    assert found.duplicates == 0


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_point_it_loses_nothing_and_applies_nothing_twice(world, point, record_property):
    """At the first occurrence, then, while it recovers from that, at a later one."""
    for visit in (1, 4):
        stack = world.start((point, visit))
        if stack.starts():  # or it died of what was left to do
            world.client.enter_until_it_dies(stack)
        left = world.dies(stack)
        assert point not in SENT_TWICE or left.half_sent, "it died where it should"
    stack = world.up()
    world.client.enter_some(stack, 12)
    world.has_dead_letters(stack)
    world.drain(stack)
    stack.kill()
    found = world.evidence()
    found.check_drained(world.client)
    record_property("sent twice", found.duplicates)
    assert found.duplicates >= (2 if point in SENT_TWICE else 0)
    assert len(world.client.ids) >= 20, "I12: the run was about something"


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_redrive", "after_redrive"])
def test_killed_while_a_dead_letter_is_replayed_it_is_applied_once(world, point):
    stack = world.up()
    world.client.enter_some(stack, 30, flaky=0)
    world.has_dead_letters(stack, least=3)  # each of the two deaths may redrive one
    stack.kill()
    world.dies(stack)
    world.broken.unlink()
    for _ in range(2):
        stack = world.start((point, 1))
        if stack.starts():  # or it died of what was waiting behind
            with suppress(MicroError):  # it dies before, while or just after it answers
                stack.ask("dlq.replay", everything=True)
        world.dies(stack)
    stack = world.up()
    letters, _ = stack.ask("dlq.list")
    assert letters
    for letter in letters:
        _, whole = stack.ask("dlq.inspect", id=letter["id"])
        assert whole["error"] == {"type": "ValueError", "message": "broken"}
    replayed = world.drain(stack)
    stack.kill()
    assert all(replayed[letter["id"], "applied"] == 1 for letter in letters), "I7: redrive delivers once"
    world.evidence().check_drained(world.client)


@pytest.mark.crash
def test_killed_again_and_again_under_load_it_loses_nothing(world, record_property):
    """F2: four clients at once, and each run is killed at a random moment, some of them while it starts."""
    chance = SystemClock()
    for number in range(ROUNDS):
        stack = world.start()
        if number % 4 == 3:
            kill_while_it_starts(stack, chance.randbits(7))
        else:
            kill_under_load(stack.started(), world.client, after=20 + chance.randbits(6))
        world.dies(stack)
    stack = world.up()
    world.client.enter_some(stack, 12)
    world.has_dead_letters(stack)
    world.drain(stack)
    stack.stop()
    found = world.evidence()
    found.check_drained(world.client)
    record_property("sent twice", found.duplicates)
    assert len(world.client.ids) >= 10 * ROUNDS, "I12: the run was about something"
