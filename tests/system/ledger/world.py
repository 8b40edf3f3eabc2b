"""The stack of `ledger.services` seen from both ends: a client that notes what it saw committed, and what the files say."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from itertools import count

KEYS = "abcd"
BURST = 40
"""Requests as fast as they are answered; then one after each pause."""
PAUSE = 0.05
MOST = 400
"""Requests after which a crash that does not come has failed the test."""
ENTRY, NOTE = "entry.events", "note.events"
TOML = """
[gateway]
port = 0
rate_limit = "off"
[services.source]
service = "ledger.services:source"
[services.first]
service = "ledger.services:first"
[services.second]
service = "ledger.services:second"
"""


class Client:
    """Enters things, and notes what it saw committed."""

    def __init__(self):
        self.sent: dict[str, int] = {}
        """Requests, with how many entries each has."""
        self.seen: dict[str, list[str]] = {}
        """Those that were answered, with the ids of their events."""
        self._numbers = count()
        self._news = threading.Condition()

    def enter(self, connection, *, flaky=3):
        """One request with one to three entries, of which some will fail: `flaky` times, or until all is mended."""
        number = next(self._numbers)
        entries = [
            {
                "key": KEYS[(number + nth) % len(KEYS)],
                "type": "Risky" if number % 9 == 4 and nth == 1 else "Entered",
                "flaky": flaky if number % 5 == 2 and nth == 0 else 0,
            }
            for nth in range(1 + number % 3)
        ]
        self._send(connection, str(number), entries)

    def enter_one(self, stack, key, type="Entered"):
        """One request with one entry; the id of its event."""
        number = str(next(self._numbers))
        connection = http.client.HTTPConnection(stack.gateway, timeout=60)
        self._send(connection, number, [{"key": key, "type": type, "flaky": 0}])
        connection.close()
        return self.seen[number][0]

    def _send(self, connection, request, entries):
        self.sent[request] = len(entries)
        body = json.dumps({"request": request, "entries": entries})
        connection.request("POST", "/entries", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 201, (answer.status, body)
        with self._news:
            self.seen[request] = json.loads(body)["ids"]
            self._news.notify_all()

    def wait_for(self, answers):
        """Return once so many requests were answered."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.seen) >= answers, timeout=60)

    def enter_until_it_dies(self, stack, *, burst=BURST):
        """Returns when the connection breaks, or was refused. Goes on slowly after `burst` requests."""
        connection = http.client.HTTPConnection(stack.gateway, timeout=60)
        try:
            for number in range(MOST):
                self.enter(connection)
                if number >= burst:
                    with suppress(TimeoutError):
                        stack.exit_code(PAUSE)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()

    def enter_some(self, stack, requests, **options):
        connection = http.client.HTTPConnection(stack.gateway, timeout=60)
        for _ in range(requests):
            self.enter(connection, **options)
        connection.close()

    @property
    def ids(self):
        return {id for ids in self.seen.values() for id in ids}


class Evidence:
    """What the files of a stack say that does not run. They are read as copies, and left as they are."""

    def __init__(self, folder, into):
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        for pattern in ("*.db", "*.db-wal"):
            for file in (folder / ".micro").glob(pattern):
                shutil.copy(file, into)
        self._folder = into
        self.committed = self._rows("source", "select event_id, key, request from entry order by seq")
        self.applied = {
            name: self._rows(name, "select event_id, key, type, note_id from applied order by seq")
            for name in ("first", "second")
        }
        self.inbox = {
            name: {id for (id,) in self._rows(name, "select event_id from micro_inbox")}
            for name in ("first", "second")
        }
        self.parked = {
            name: [id for (id,) in self._rows(name, "select event_id from micro_parked")]
            for name in ("first", "second")
        }
        records = self._rows(
            "bus", "select topic, partition, offset, key, value from record order by topic, partition, offset"
        )
        waiting = [
            (topic, event["id"])
            for name in ("source", "second")
            for topic, value in self._rows(name, "select topic, value from micro_outbox")
            if (event := event_in(value))
        ]
        gone = [(topic, event["id"]) for topic, *_, value in records if (event := event_in(value))]
        self.half_sent = set(gone) & set(waiting)
        """What is in the log and still in an outbox, copies of dead letters included."""
        self.duplicates = len(gone) - len(set(gone))
        self.outbox = [id for topic, id in waiting if topic in {ENTRY, NOTE}]
        self.wire = [
            (topic, partition, offset, key, event)
            for topic, partition, offset, key, value in records
            if topic in {ENTRY, NOTE} and (event := event_in(value))
        ]
        """What is no event doesn't count."""
        self.ends = {
            (topic, partition): offset + 1
            for topic, partition, offset, *_ in records
            if topic in {ENTRY, NOTE}
        }
        self.positions = self._rows("bus", "select subscriber, topic, partition, offset from position")

    def _rows(self, name, sql):
        connection = sqlite3.connect(self._folder / f"{name}.db")
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # killed before it was made
                return []
            raise
        finally:
            connection.close()

    def check(self, client):
        """What holds at every moment, also in the middle."""
        ids = [id for id, *_ in self.committed]
        sent = {event["id"] for *_, event in self.wire}
        noted = {note: id for id, _, _, note in self.applied["second"]}
        assert client.ids <= set(ids), "I1: what the client saw committed is committed"
        per_request = Counter(request for _, _, request in self.committed)
        assert all(per_request[each] in {0, n} for each, n in client.sent.items()), (
            "a transaction is all or nothing"
        )
        assert set(ids) | set(noted) <= sent | set(self.outbox), "I1: nothing is lost on the way"
        assert sent | set(self.outbox) <= set(ids) | set(noted), "I2: no event without its state"
        for rows in self.applied.values():
            assert {id for id, *_ in rows} <= set(ids) | set(noted), "I2: nothing applied without its state"
            assert set(Counter(id for id, *_ in rows).values()) <= {1}, "I3: applied once"
        self._check_order(noted)
        self._check_positions()

    def _check_order(self, noted):
        committed, notes = {}, {}
        for id, key, _ in self.committed:
            committed.setdefault(key, []).append(id)
        for _, key, _, note in self.applied["second"]:
            notes.setdefault(key, []).append(note)
        for key, ids in committed.items():
            for name, rows in self.applied.items():
                found = [id for id, at, type, _ in rows if at == key and type != "Noted"]
                assert found == ids[: len(found)], f"I4: {name} applies {key} in the order of the commits"
            heard = [id for id, at, type, _ in self.applied["first"] if at == key and type == "Noted"]
            assert heard == notes.get(key, [])[: len(heard)], (
                f"I4: notes of {key} in the order of the commits"
            )
            for topic, sources in ((ENTRY, ids), (NOTE, notes.get(key, []))):
                first = list(
                    dict.fromkeys(e["id"] for t, _, _, at, e in self.wire if (t, at) == (topic, key))
                )
                assert first == sources[: len(first)], f"I4: {key} leaves in the order of the commits"

    def _check_positions(self):
        for name, topic, partition, position in self.positions:
            below = {
                event["id"]
                for t, p, offset, _, event in self.wire
                if (t, p) == (topic, partition) and offset < position
            }
            assert below <= self.inbox[name], (
                f"I6: {name}'s position in {topic}/{partition} is above what it has"
            )

    def check_drained(self, client):
        """What holds besides when there is nothing left to do."""
        self.check(client)
        ids = {id for id, *_ in self.committed}
        noted = {note for *_, note in self.applied["second"]}
        assert {id for id, *_ in self.applied["second"]} == ids, (
            "I1: everything reached the second subscriber"
        )
        assert {id for id, *_ in self.applied["first"]} == ids | noted, (
            "I1: everything reached the first subscriber"
        )
        assert not self.outbox
        assert not any(self.parked.values()), "I7: no event is left behind"
        stored = {(name, topic, partition): offset for name, topic, partition, offset in self.positions}
        for (topic, partition), end in self.ends.items():
            for name in ("first", "second") if topic == ENTRY else ("first",):
                assert stored[name, topic, partition] == end, "the next run would begin at the end"


def event_in(value):
    """The event in a record, where there is one."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if "type" in found else None


class World:
    """The stack of `ledger.services` in one folder, its client, and its files."""

    def __init__(self, folder, forge):
        self.folder = folder
        self.client = Client()
        self.broken = folder / "broken"
        self.broken.touch()
        self._forge = forge
        (folder / "micro.toml").write_text(TOML)

    def start(self, crash=None):
        """A stack that is not waited for; it will die at the `crash` point."""
        return self._forge.start(self.folder, crash, LEDGER_BROKEN=str(self.broken))

    def up(self):
        return self.start().started()

    def evidence(self):
        return Evidence(self.folder, self.folder / "evidence")

    def has_dead_letters(self, stack, least=1):
        """Wait for them."""
        return stack.until(lambda: len(found := stack.ask("dlq.list", limit=0)[0]) >= least and found)

    def dies(self, stack):
        assert stack.wait() == -signal.SIGKILL, stack.errors
        found = self.evidence()
        found.check(self.client)
        return found

    def drain(self, stack):
        """Mend what is broken, and have dead letters handled again until nothing waits; what was replayed."""
        self.broken.unlink(missing_ok=True)
        replayed: Counter[tuple[str, str]] = Counter()

        def nothing_waits():
            _, stats = stack.ask("events.stats")
            if any(each["dead"] for each in stats["subscribers"]):
                replayed.update(id_and_outcome(each) for each in stack.ask("dlq.replay", everything=True)[0])
            return not any(
                [each["waiting"] for each in stats["outboxes"]]
                + [
                    each[what]
                    for each in stats["subscribers"]
                    for what in ("lag", "parked", "dead", "in_flight")
                ]
            )

        def stays_so():
            return nothing_waits() and nothing_waits()  # a handler may have emitted between two looks

        stack.until(stays_so)
        return replayed


def id_and_outcome(letter):
    return letter["id"], letter["outcome"]
