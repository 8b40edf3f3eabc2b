"""What the fault suite counts, on evidence that is made up: each number can be something else than zero."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults.every import LONG, SHORT
from faults.evidence import CONSUMERS, Evidence, Verdict, born, rate, recovered, reorders
from faults.scenario import Scenario, violations
from ledger.world import ENTRY, NOTE

from micro.bus.message import Message, Partition, Record
from micro.clock import SystemClock
from micro.ids import new_id

GOOD = Verdict(
    fault="F0",
    text="x",
    events=100,
    lost=0,
    reordered=0,
    doubled=0,
    twice=3,
    strange=0,
    wrong=0,
    recovery=0.0,
)
MAIN = runpy.run_path(str(Path(__file__).with_name("__main__.py")))


class FakeWorld:
    """Databases and a log as lists; two entries of one key, each applied and noted, unless a test changes that."""

    def __init__(self):
        self.entries = [("a", "k.1", 1), ("b", "k.1", 2)]
        self.applied = {
            "second": [("a", "k.1", "Entered", "na"), ("b", "k.1", "Entered", "nb")],
            "first": [
                ("a", "k.1", "Entered", None),
                ("na", "k.1", "Noted", None),
                ("b", "k.1", "Entered", None),
                ("nb", "k.1", "Noted", None),
            ],
        }
        self.inbox = {"second": ["a", "b"], "first": ["a", "b", "na", "nb"]}
        self.wire = {ENTRY: ["a", "b"], NOTE: ["na", "nb"]}
        self.missing = Counter()
        """By subscriber and topic, how many records are between its position and the end."""
        self._before = True

    def with_log(self, read):
        coroutine = read(self)
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        self._before = False
        return ended.value.value

    async def topics(self):
        return {ENTRY: 1, NOTE: 1}

    async def bounds(self, partition):
        return SimpleNamespace(end=0 if self._before else len(self.wire[partition.topic]))

    async def read(self, partition, offset, *, limit):
        return [
            Record(
                partition,
                at,
                Message(partition.topic, "k.1", b'{"type": "x", "id": "%s"}' % id.encode()),
                0.0,
            )
            for at, id in enumerate(self.wire[partition.topic])
        ][offset:]

    async def positions(self):
        return {
            name: {Partition(topic, 0): len(self.wire[topic]) - self.missing[name, topic] for topic in topics}
            for name, topics in CONSUMERS.items()
        }

    def query(self, name, sql, *values):
        if "micro_inbox" in sql:
            return [(id,) for id in self.inbox[name]]
        return self.entries if name == "source" else self.applied[name]


@pytest.fixture
def judged():
    """`judged(world, seen=…)`: what is found there."""

    def judge(world, seen=("a", "b"), again=()):
        scenario = Scenario(fault="F0", text="x", inject=print, again=again)
        return Evidence.verdict(world.evidence, scenario, SimpleNamespace(seen=seen, wrong=0), recovery=0.0)

    return judge


@pytest.fixture
def world():
    made = FakeWorld()
    made.evidence = Evidence(made, "k")
    return made


def counted(verdict):
    return {
        what: number
        for what in ("lost", "reordered", "doubled", "twice", "strange")
        if (number := getattr(verdict, what))
    }


def test_where_all_is_well_nothing_is_counted(world, judged):
    verdict = judged(world)
    assert (verdict.events, counted(verdict)) == (2, {})


def test_what_a_consumer_or_a_note_misses_is_lost(world, judged):
    world.applied["first"] = world.applied["first"][:2]
    assert counted(judged(world)) == {"lost": 2}


def test_what_a_client_was_told_of_and_is_not_there_is_lost(world, judged):
    assert counted(judged(world, seen=["a", "b", "gone"])) == {"lost": 1}


def test_what_is_applied_after_a_later_one_is_reordered(world, judged):
    rows = world.applied["first"]
    world.applied["first"] = [rows[2], *rows[:2], rows[3]]
    assert counted(judged(world)) == {"reordered": 1}


def test_what_is_sent_after_a_later_one_is_reordered_but_not_what_is_sent_again(world, judged):
    world.wire[ENTRY] = ["a", "b", "a", "b"]
    assert counted(judged(world)) == {"twice": 2}
    world.wire[ENTRY] = ["b", "a"]
    assert counted(judged(world)) == {"reordered": 1}


def test_what_is_applied_again_is_doubled_unless_it_was_replayed(world, judged):
    world.applied["first"] += world.applied["first"][:1] * 2
    assert counted(judged(world)) == {"doubled": 2}
    assert counted(judged(world, again=("1",))) == {"doubled": 1}


def test_what_nobody_committed_is_strange(world, judged):
    world.wire[ENTRY].append("ghost")
    for ids in world.inbox.values():
        ids.append("ghost")
    assert counted(judged(world)) == {"strange": 1}


def test_a_position_above_what_is_not_in_the_inbox_is_strange(world, judged):
    world.inbox["first"].remove("b")
    assert counted(judged(world)) == {"strange": 1}


def test_a_position_that_stays_behind_is_strange(world, judged):
    world.missing["first", NOTE] = 1
    world.missing["second", ENTRY] = 2
    assert counted(judged(world)) == {"strange": 2}


def test_keys_are_in_order_each_by_itself():
    key_of = {"a": "k", "b": "k", "x": "l"}
    assert reorders(["x", "a", "b"], ["a", "b", "x"], key_of) == 0
    assert reorders(["b", "a", "a"], ["a", "b", "x"], key_of) == 1


def test_the_rate_before_is_that_of_what_was_emitted_then():
    assert rate([(5.0, 1.0), (5.0, 1.5), (5.0, 2.0)], 1.0, 2.0) == 2


def steady(start, end, *, delay=0.01, per_second=100):
    """Effects of events that were emitted at a steady pace."""
    moments = [start + number / per_second for number in range(int((end - start) * per_second))]
    return [(at + delay, at) for at in moments]


def test_a_rate_that_never_fell_is_back_at_once():
    assert recovered(steady(0, 10), 100, 5.0) == 0


def test_a_rate_is_back_when_new_events_are_applied_again():
    stuck = [(max(at, 7.0), emitted) for at, emitted in steady(0, 12)]
    assert 1.9 < recovered(stuck, 100, 5.0) < 2.2


def test_what_had_been_waiting_is_no_recovery():
    waiting = [(5.5, 4.0)] * 1000
    assert recovered(sorted(waiting + steady(5, 12, per_second=50)), 100, 5.0) is None


def test_a_rate_that_falls_again_is_not_back():
    assert recovered(steady(5, 7) + steady(7, 20, per_second=10), 100, 5.0) is None
    assert recovered([], 100, 5.0) is None


def test_a_uuid7_says_when_it_was_made():
    clock = SystemClock()
    assert abs(born(new_id(clock)) - clock.now().timestamp()) < 5


@pytest.mark.parametrize(
    "change",
    [
        *({what: 1} for what in ("lost", "reordered", "doubled", "strange", "wrong")),
        {"recovery": None},
        {"events": 1},
    ],
)
def test_each_of_these_fails_a_run(change):
    assert violations(GOOD) == []
    values = {name: getattr(GOOD, name) for name in Verdict.__dataclass_fields__}
    assert len(violations(Verdict(**values | change))) == 1


def test_a_line_of_the_table():
    assert MAIN["line"](GOOD) == "| F0 | x | 100 | 0 | 0 | 0 | 3 | at once |"
    assert MAIN["HEAD"].count("|") == MAIN["RULE"].count("|") == 9


def test_the_command_does_what_is_asked_for():
    assert MAIN["chosen"]([]) == LONG
    assert {each.fault for each in MAIN["chosen"](["F5"])} == {"F5"}
    assert [each.text for each in MAIN["chosen"](["grace"])] == ["stopped, the grace time over"]
    with pytest.raises(SystemExit, match="no such fault: F8; there are F1, F2"):
        MAIN["chosen"](["F8"])


def test_the_short_form_has_every_fault_of_the_long_one():
    assert [each.fault for each in SHORT] == list(dict.fromkeys(each.fault for each in LONG))
