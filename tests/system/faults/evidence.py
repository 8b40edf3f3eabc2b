"""What was committed, what was on the wire, and what was applied, of one scenario; and what that proves."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from ledger.world import ENTRY, NOTE, event_in

from micro.bus.message import Partition

SPAN = 1.0
"""Seconds over which a rate is taken."""
AGAIN = 0.95
"""Of the rate before the fault: what counts as recovered (I9)."""
CONSUMERS = {"first": (ENTRY, NOTE), "second": (ENTRY,)}
"""Who applies, and which topics."""
EFFECTS = 3
"""Of each entry: at both, and of what the second emits at the first."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line of the table."""

    fault: str
    text: str
    events: int
    """Entries that were committed."""
    lost: int
    """Events that did not reach a consumer of theirs, and entries that a client was told of and that are not there (I1)."""
    reordered: int
    """First arrivals, on the wire or at a consumer, of an event of a key after a later one (I4)."""
    doubled: int
    """Effects that were applied again (I3)."""
    twice: int
    """Records on the wire that had been there before (I5)."""
    strange: int
    """Events without a committed entry (I2), and positions above an event that is not in the inbox (I6), or that stay
    below events that have been applied."""
    wrong: int
    """Answers to clients that are neither success nor the word that something is away."""
    recovery: float | None
    """Seconds until the rate was back (I9)."""
    remark: str = ""


class Evidence:
    """Both ends of the event path for the keys that begin with `name`, from now on."""

    def __init__(self, world, name):
        self._world = world
        self._prefix = f"{name}.%"
        self._name = name
        self._starts = world.with_log(_ends)

    def effects(self):
        """When each effect was, in seconds since the epoch, and when its event was emitted; sorted."""
        rows = [
            row for name in CONSUMERS for row in self._rows(name, "select at, event_id from applied", "at")
        ]
        return sorted((at, born(id)) for at, id in rows)

    def entries(self):
        """When each entry was committed, and emitted, which is the same here."""
        return [
            (at, at) for at in (born(id) for (id,) in self._rows("source", "select event_id from entry", "1"))
        ]

    def is_complete(self):
        """Whether everything has arrived where it should, and nothing waits."""
        entries, noted, heard = (
            self._rows(name, f"select count(distinct event_id) from {table}", "1")[0][0]  # noqa: S608 # tables of ours
            for name, table in (("source", "entry"), ("second", "applied"), ("first", "applied"))
        )
        waiting = [
            self._rows(name, f"select count(*) from {table}", "1")[0][0]  # noqa: S608 # as above
            for name in ("source", *CONSUMERS)
            for table in ("micro_outbox", "micro_parked")
        ]
        applied = noted >= entries and heard >= (EFFECTS - 1) * entries and not any(waiting)
        return applied and not self._world.with_log(_behind)

    def verdict(self, scenario, load, **more):
        """What was found."""
        positions = self._world.with_log(lambda bus: bus.positions())
        committed = self._world.query(
            "source", "select event_id, key, nth from entry where key like $1 order by key, nth", self._prefix
        )
        applied = {
            name: self._rows(name, "select event_id, key, type, note_id from applied", "seq")
            for name in CONSUMERS
        }
        wire = self._world.with_log(self._wire)
        ids = [id for id, *_ in committed]
        notes = [note for *_, note in applied["second"]]
        found = {
            (ENTRY, "first"): [id for id, _, type, _ in applied["first"] if type != "Noted"],
            (ENTRY, "second"): [id for id, *_ in applied["second"]],
            (NOTE, "first"): [id for id, _, type, _ in applied["first"] if type == "Noted"],
            (ENTRY, "wire"): [id for topic, *_, id in wire if topic == ENTRY],
            (NOTE, "wire"): [id for topic, *_, id in wire if topic == NOTE],
        }
        sources = {ENTRY: ids, NOTE: notes}
        key_of = {id: key for id, key, _ in committed} | {note: key for _, key, _, note in applied["second"]}
        ends = {place: rows for place, rows in found.items() if place[1] != "wire"}
        again = {f"{self._name}.{key}" for key in scenario.again}
        return Verdict(
            fault=scenario.fault,
            text=scenario.text,
            events=len(ids),
            lost=sum(len({*sources[topic]} - {*rows}) for (topic, _), rows in ends.items())
            + len({*load.seen} - {*ids}),
            reordered=sum(reorders(rows, sources[topic], key_of) for (topic, _), rows in found.items()),
            doubled=sum(
                max(0, times - 1 - (name == "first" and key_of.get(id) in again))
                for (_, name), rows in ends.items()
                for id, times in Counter(rows).items()
            ),
            twice=sum(len(rows) - len({*rows}) for place, rows in found.items() if place[1] == "wire"),
            strange=sum(len({*rows} - {*sources[topic]}) for (topic, _), rows in found.items())
            + self._passed_over(positions, wire)
            + self._world.with_log(_behind),
            wrong=load.wrong,
            **more,
        )

    def _passed_over(self, positions, wire):
        """Records below a stored position that the subscriber has not taken over."""
        passed = 0
        for name in CONSUMERS:
            known = {id for (id,) in self._world.query(name, "select event_id from micro_inbox")}
            stored = positions.get(name, {})
            for topic, number, offset, id in wire:
                if offset < stored.get(Partition(topic, number), 0) and id not in known:
                    passed += 1
        return passed

    async def _wire(self, bus):
        """Topic, partition, offset and id of every record of ours, in order."""
        found = []
        for partition, end in (await _ends(bus)).items():
            offset = self._starts.get(partition, 0)
            while offset < end and (records := await bus.read(partition, offset, limit=1000)):
                offset = records[-1].offset + 1
                found += [
                    (*partition, record.offset, event["id"])
                    for record in records
                    if record.message.key.startswith(f"{self._name}.")
                    and (event := event_in(record.message.value))
                ]
        return found

    def _rows(self, name, sql, order):
        return self._world.query(name, f"{sql} where key like $1 order by {order}", self._prefix)


async def _behind(bus):
    """How many positions are not at the end."""
    positions, ends = await bus.positions(), await _ends(bus)
    return sum(
        positions.get(name, {}).get(partition, 0) < end
        for name, topics in CONSUMERS.items()
        for partition, end in ends.items()
        if partition.topic in topics
    )


async def _ends(bus):
    topics = await bus.topics()
    partitions = [
        Partition(topic, number) for topic in (ENTRY, NOTE) for number in range(topics.get(topic, 0))
    ]
    return {partition: (await bus.bounds(partition)).end for partition in partitions}


def reorders(rows, source, key_of):
    """How often an event's first arrival is later than that of one that was committed after it under its key."""
    nth = {id: number for number, id in enumerate(source)}
    last = Counter()
    found = 0
    for id in dict.fromkeys(rows):
        key, number = key_of.get(id), nth.get(id, -1) + 1
        found += number < last[key]
        last[key] = max(last[key], number)
    return found


def recovered(effects, before, over):
    """Seconds from `over` until events are applied at `AGAIN` of the rate `before` and, on average, remain so; or `None`.

    Only events that were emitted after `over` count: what had been waiting would make the rate look better than it is.
    0 where the first span of time has that rate, else the moment at which a span has had as many as it should.
    """
    fresh = [at for at, emitted in effects if emitted >= over]
    wanted, end = AGAIN * before, fresh[-1] if fresh else over
    for index, start in enumerate((over, *fresh)):
        if end - start < SPAN:
            return None
        later = fresh[max(0, index - 1) :]
        if min(bisect_left(later, start + SPAN) / SPAN, len(later) / (end - start)) >= wanted:
            return later[int(wanted * SPAN) - 1] - over if index else 0.0
    return None


def rate(effects, start, end):
    """Effects a second of what was emitted between two moments."""
    return sum(start <= emitted < end for _, emitted in effects) / (end - start)


def born(id):
    """When a UUIDv7 was made, in seconds since the epoch."""
    return int(id.replace("-", "")[:12], 16) / 1000
