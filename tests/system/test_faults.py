"""What goes wrong around a stack has a defined outcome, and no committed event is lost by it."""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from micro.bus.memory import MemoryBus
from micro.bus.message import Message
from micro.clock import SystemClock
from micro.store.journal import SqliteJournal

MICRO = str(Path(sys.executable).with_name("micro"))


class Client:
    """Somebody whose requests may be refused for a while."""

    def __init__(self, stack, token):
        self._connection = http.client.HTTPConnection(stack.gateway, timeout=60)
        self._token = token
        self.created = []
        """Ids of the tasks that were."""

    def ask(self, method, path, body=None):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer, json.loads(answer.read() or b"null")

    def create(self, title="x"):
        """Try to create a task; whether it is there now. What can't be done now is 503, and says when to come again."""
        answer, body = self.ask("POST", "/tasks", {"title": title * 100})
        if answer.status == 201:
            self.created.append(body["id"])
            return True
        assert answer.status == 503, body
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
        assert body["request_id"]
        return False

    def complete(self):
        answer, body = self.ask("POST", f"/tasks/{self.created[-1]}/complete")
        assert answer.status == 200, body

    def close(self):
        self._connection.close()


@pytest.fixture
def client():
    with ExitStack() as opened:

        def make(stack):
            made = Client(stack, stack.token("ada"))
            opened.callback(made.close)
            return made

        yield make


def nothing_waits(stack):
    _, stats = stack.ask("events.stats")
    return not any(
        [each["waiting"] for each in stats["outboxes"]]
        + [each[what] for each in stats["subscribers"] for what in ("lag", "parked", "dead", "in_flight")]
    )


def all_told(stack, client, completed):
    """Every task that was created has its event, every one completed one notification, and nothing waits.

    An event may have been sent twice: the disk can be full between its sending and the note that it was sent.
    """
    stack.until(lambda: nothing_waits(stack))
    items, _ = stack.ask("events.list", topic="task.events", limit=0)
    told = {each["event"]["subject"] for each in items if each["event"]["type"] == "TaskCreatedEvent"}
    assert told == set(client.created)
    _, notifications = client.ask("GET", "/notifications?limit=200")
    return len(notifications["items"]) == completed


def one_sentence(finished):
    """What a start that is refused says: no usage, no traceback, nothing on stdout, nothing left running."""
    assert finished.returncode in {1, 2}
    assert finished.stdout == ""
    assert 1 <= finished.stderr.count("\n") <= 2
    assert finished.stderr.startswith("error: ")
    assert "Traceback" not in finished.stderr
    return finished.stderr


# A database that another process holds.


@pytest.mark.usefixtures("built_in")
def test_a_database_that_another_process_has_open_is_refused_by_name(micro, up, tmp_path):
    up().stop()
    with (tmp_path / ".micro" / "task.db.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4242\n")
        lock.flush()
        refusal = one_sentence(micro("up"))
    assert "task.db is in use by process 4242; stop it first" in refusal
    up().stop()


@contextmanager
def written_to(database):
    """What `sqlite3 FILE` does to it when somebody types BEGIN IMMEDIATE."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


@pytest.mark.usefixtures("built_in")
def test_while_a_program_holds_a_service_s_database_writes_are_503_and_reads_are_answered(
    up, client, tmp_path
):
    stack = up()
    ada = client(stack)
    assert ada.create()
    stack.until(lambda: nothing_waits(stack))  # or the relay's own write would wait first
    with written_to(tmp_path / ".micro" / "task.db"):
        assert not ada.create()
        answer, body = ada.ask("GET", "/tasks")
        assert (answer.status, len(body["items"])) == (200, 1)
    assert ada.create()
    ada.complete()
    assert stack.until(lambda: all_told(stack, ada, completed=1))
    stack.stop()


@pytest.mark.usefixtures("built_in")
def test_while_a_program_holds_the_log_events_wait_in_the_outbox(up, client, tmp_path):
    stack = up()
    ada = client(stack)
    with written_to(tmp_path / ".micro" / "bus.db"):
        assert all(ada.create() for _ in range(3))
        ada.complete()
        assert not nothing_waits(stack)
        stack.kill()
    stack = up()
    ada = client(stack)
    ada.created += [each["id"] for each in ada.ask("GET", "/tasks")[1]["items"]]
    assert len(ada.created) == 3
    assert stack.until(lambda: all_told(stack, ada, completed=1))
    stack.stop()


# A full disk.


@contextmanager
def no_more_bytes(pid):
    """No file of that process may grow; pipes and sockets go on."""
    least, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (least, most))


@contextmanager
def filled(folder):
    """A file that takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    try:
        yield
    finally:
        filler.unlink()


def fills_up(ada, stack, full):
    """Work before, during and after the disk is full."""
    for _ in range(3):
        assert ada.create()
        ada.complete()
    with full:
        while ada.create():
            assert len(ada.created) < 200
        answer, body = ada.ask("GET", "/tasks?limit=200")
        assert (answer.status, len(body["items"])) == (200, len(ada.created))
        assert ada.ask("GET", "/health")[1]["status"] == "healthy"
        assert not ada.create()
    assert ada.create()
    ada.complete()
    assert stack.until(lambda: all_told(stack, ada, completed=4))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process: Linux only")
@pytest.mark.usefixtures("built_in")
def test_where_no_file_may_grow_writes_are_503_and_nothing_is_lost(up, client):
    stack = up()
    fills_up(client(stack), stack, no_more_bytes(stack.pid))
    stack.stop()


def tiny_disk(size, command):
    """`command` in a folder `disk` that is a file system of its own, seen by that process alone."""
    script = f"mount -t tmpfs -o size={size} tmpfs disk && cp micro.toml disk && cd disk && exec {command}"
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]


def may_mount():
    with suppress(OSError):
        tried = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(tried, check=False, capture_output=True).returncode == 0
    return False


needs_a_disk = pytest.mark.skipif(not may_mount(), reason="may not mount a file system of its own")


@pytest.fixture
def disk(tmp_path, built_in):
    """The environment for a process with a disk of its own: its sockets belong to root there."""
    (tmp_path / "disk").mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        yield {"TMPDIR": sockets}


@needs_a_disk
def test_on_a_full_disk_writes_are_503_and_nothing_is_lost(run, client, disk, tmp_path):
    stack = run(*tiny_disk("6m", f"{MICRO} up --no-reload --json"), **disk).started()
    inside = Path(f"/proc/{stack.pid}/root{tmp_path}/disk")
    stack.folder = inside
    fills_up(client(stack), stack, filled(inside))
    stack.stop()


@needs_a_disk
@pytest.mark.parametrize("size", ["4k", "16k", "64k", "128k"])
def test_a_start_on_a_full_disk_is_refused_in_one_sentence(disk, tmp_path, size):
    command = tiny_disk(size, f"{MICRO} up --no-reload --json")
    finished = subprocess.run(
        command,
        check=False,
        cwd=tmp_path,
        env={**disk, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert any(word in one_sentence(finished) for word in ("o space left", "check the disk"))


# A migration that was edited after it was applied.


EDITED = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from micro import Event, Service

class Made(Event, topic="thing.events"):
    name: str

async def make(request):
    async with request.state.micro.transaction() as tx:
        await tx.execute("insert into thing (name) values (?)", "a")
        tx.emit(Made(name="a"), key="a")
    return JSONResponse({}, status_code=201)

app = Starlette(routes=[Route("/things", make, methods=["POST"])])
service = Service("things", app=app, routes=["/things"], migrations="migrations", publishes=[Made])
other = Service("other", migrations="migrations")

@other.on("Made", topic="thing.events")
async def made(event, tx):
    await tx.execute("insert into thing (name) values (?)", event.data["name"])
"""


@pytest.mark.crash
def test_an_edited_migration_stops_the_start_and_nothing_is_lost_meanwhile(up, micro, tmp_path):
    (tmp_path / "edited.py").write_text(EDITED)
    (tmp_path / "micro.toml").write_text(
        '[gateway]\nport = 0\n[services.things]\nservice = "edited:service"\n[services.other]\nservice = "edited:other"\n'
    )
    file = tmp_path / "migrations" / "0001_thing.sql"
    file.parent.mkdir()
    file.write_text("create table thing (name text not null) strict;\n")
    stack = up()
    with written_to(tmp_path / ".micro" / "bus.db"):  # so that the event is still to be sent
        connection = http.client.HTTPConnection(stack.gateway, timeout=60)
        connection.request("POST", "/things")
        assert connection.getresponse().status == 201
        connection.close()
        stack.kill()
    file.write_text("create table thing (name text not null, size integer) strict;\n")
    refusal = one_sentence(micro("up"))
    assert "things: 0001_thing.sql was edited after it was applied" in refusal
    assert "undo the edit and put the change into a new file" in refusal
    one_sentence(micro("db", "status"))
    file.write_text("create table thing (name text not null) strict;\n")
    (tmp_path / "migrations" / "0002_size.sql").write_text("alter table thing add column size integer;\n")
    stack = up()
    rows = "select name, size from thing"
    assert stack.until(lambda: stack.ask("db.query", service="other", sql=rows)[1]["rows"] == [["a", None]])
    stack.stop()


# An event that nobody can decode, and one that nobody can handle.


async def publish(folder, *messages):
    """Put messages into the log of a stack that does not run."""
    journal, clock = SqliteJournal(folder / ".micro" / "bus.db"), SystemClock()
    bus = MemoryBus("memory:", clock=clock, journal=journal)
    await journal.open()
    try:
        await bus.open()
        await bus.publish(messages)
        await bus.close()
    finally:
        await journal.close()


UNDECODABLE = {
    "no JSON": b"\xff\xfe not an event \x00",
    "no event": b'{"specversion": "1.0", "id": "1"}',
    "nothing": b"",
    "endless": b"[" * 100_000,
}


def test_bytes_that_are_no_event_become_dead_letters_and_hold_nothing_up(world):
    stack = world.up()
    world.client.enter_one(stack, "a")
    stack.kill()
    asyncio.run(
        publish(world.folder, *[Message("entry.events", "a", value) for value in UNDECODABLE.values()])
    )
    stack = world.up()
    world.client.enter_one(stack, "a")
    letters = world.has_dead_letters(stack, 2 * len(UNDECODABLE))
    assert Counter(letter["service"] for letter in letters) == {"first": 4, "second": 4}
    assert {(letter["type"], letter["exception"], letter["state"]) for letter in letters} == {
        (None, "DecodeError", "dead")
    }
    _, whole = stack.ask("dlq.inspect", id=letters[0]["id"], service="first")
    assert (whole["event"], whole["behind"]) == (None, 0)
    listed, _ = stack.ask("events.list", topic="entry.events", limit=0)
    assert sum(each["event"] is None for each in listed) == 3  # one of them is JSON, if not an event
    again, _ = stack.ask("dlq.replay", everything=True)
    assert {letter["outcome"] for letter in again} == {"failed"}
    given_up, _ = stack.ask("dlq.skip", everything=True)
    assert {letter["outcome"] for letter in given_up} == {"dropped"}
    world.drain(stack)
    stack.stop()
    found = world.evidence()
    found.check_drained(world.client)
    assert len(found.committed) == 2


def test_a_handler_that_always_throws_holds_up_its_key_alone_until_it_is_mended(world):
    stack = world.up()
    before = world.client.enter_one(stack, "a")
    poison = world.client.enter_one(stack, "a", "Risky")
    behind = [world.client.enter_one(stack, "a") for _ in range(3)]
    others = [world.client.enter_one(stack, key) for key in "bcd" * 3]
    [letter] = world.has_dead_letters(stack)
    assert (letter["id"], letter["service"], letter["exception"]) == (poison, "second", "ValueError")

    def nothing_lags():
        _, stats = stack.ask("events.stats")
        rows = {(each["subscriber"], each["topic"]): each for each in stats["subscribers"]}
        assert all(each["consuming"] for each in rows.values())
        return not any(each["lag"] for each in rows.values()) and rows["second", "entry.events"]

    assert stack.until(nothing_lags)["parked"] == len(behind)
    _, whole = stack.ask("dlq.inspect", id=poison)
    assert whole["behind"] == len(behind)
    assert "apply_risky" in whole["stack"]
    applied = "select event_id from applied where type <> 'Noted' order by seq"
    rows = {name: stack.ask("db.query", service=name, sql=applied)[1]["rows"] for name in ("first", "second")}
    assert len(rows["first"]) == 2 + len(behind) + len(others)
    assert sorted(id for (id,) in rows["second"]) == sorted([before, *others])
    again, _ = stack.ask("dlq.replay", ids=[poison])
    assert [each["outcome"] for each in again] == ["failed"]
    stack.kill()  # what waits, waits on disk
    stack = world.up()
    assert stack.ask("dlq.list")[0][0]["attempts"] == 3
    assert world.drain(stack)[poison, "applied"] == 1
    stack.stop()
    world.evidence().check_drained(world.client)
