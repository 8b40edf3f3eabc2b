"""All servers of a folder together: which are borrowed, and who gives them back."""

from __future__ import annotations

import json

import pytest

from micro.clock import SystemClock
from micro.errors import NotFound, UsageError
from micro.infra import local as module
from micro.infra.local import Local, parse_use, server_for
from micro.infra.server import Record, ServerFailed

RUNNING: dict[str, set[str]] = {}
"""By folder, what runs: it outlives the objects, as processes do."""


class Fake:
    """A server without a process."""

    fails = ()
    version = "1"

    def __init__(self, folder, *, clock, installed=None):
        self._running = RUNNING.setdefault(str(folder), set())

    @property
    def pid(self):
        return 7 if self.name in self._running else None

    @property
    def record(self):
        return Record(ports=[1], password="p", version="1")

    def url(self, record):
        return f"{self.name}://:s3cret@h"

    async def start(self, tell):
        if self.name in Fake.fails:
            raise ServerFailed(f"{self.name} did not start")
        started = self.name not in self._running
        self._running.add(self.name)
        return started

    async def stop(self):
        ran = self.name in self._running
        self._running.discard(self.name)
        return ran


@pytest.fixture
def running(tmp_path, monkeypatch):
    """The names of what runs in the folder of `make`."""
    kinds = tuple(type(name, (Fake,), {"name": name}) for name in ("postgres", "redis", "kafka"))
    monkeypatch.setattr(module, "KINDS", kinds)
    monkeypatch.setattr(Fake, "fails", ())
    RUNNING.clear()
    return RUNNING.setdefault(str(tmp_path / "infra"), set())


@pytest.fixture
def make(tmp_path, running):
    """A `Local`, as each command makes its own."""
    return lambda **options: Local(tmp_path, clock=SystemClock(), **options)


def nothing(text):
    pass


async def test_what_was_borrowed_is_given_back_and_what_ran_before_stays(make, running):
    await make().up(["postgres"], nothing)
    borrower = make()
    assert await borrower.borrow(["postgres", "redis"], nothing) == ["redis"]
    assert running == {"postgres", "redis"}
    assert await borrower.give_back() == ["redis"]
    assert running == {"postgres"}
    assert await borrower.give_back() == []


async def test_what_a_killed_borrower_left_is_given_back_by_the_next(make, running):
    await make().borrow((), nothing)
    again = make()
    assert await again.borrow((), nothing) == []
    assert await again.give_back() == ["postgres", "redis", "kafka"]
    assert running == set()


async def test_what_somebody_wants_up_meanwhile_has_come_to_stay(make, running):
    await make().borrow(["postgres", "redis"], nothing)
    await make().up(["postgres"], nothing)
    assert await make().give_back() == ["redis"]
    assert running == {"postgres"}


async def test_what_was_stopped_by_hand_is_borrowed_no_more(make, running):
    await make().borrow(["postgres"], nothing)
    await make().down()
    await make().up(["postgres"], nothing)
    assert await make().give_back() == []
    assert running == {"postgres"}


async def test_one_that_does_not_start_leaves_none_that_this_call_has_started(make, running, monkeypatch):
    monkeypatch.setattr(Fake, "fails", ("kafka",))
    with pytest.raises(ServerFailed, match="kafka did not start"):
        await make().borrow((), nothing)
    assert running == set()


async def test_a_note_that_can_not_be_read_is_none(make, running, tmp_path):
    await make().borrow(["redis"], nothing)
    (tmp_path / "infra" / "borrowed.json").write_text("{")
    assert await make().give_back() == []
    (tmp_path / "infra" / "borrowed.json").write_text('["redis", "mongodb"]')
    assert await make().give_back() == ["redis"]


async def test_a_server_elsewhere_is_neither_started_nor_stopped(make, running, tmp_path):
    elsewhere = make(use={"postgres": "postgresql://me:s3cret@db/{service}"})
    assert await elsewhere.up(["postgres", "redis"], nothing) == ["redis"]
    later = make()
    assert await later.borrow((), nothing) == ["kafka"]
    assert later.urls()["store"] == "postgresql://me:s3cret@db/{service}"
    assert (later.is_own("store"), later.is_own("bus")) == (False, True)
    assert await later.give_back() == ["kafka"]
    assert json.loads((tmp_path / "infra" / "use.json").read_text()).keys() == {"postgres"}
    rows = {row["server"]: row for row in later.status()}
    assert (rows["postgres"]["state"], rows["redis"]["state"], rows["kafka"]["state"]) == (
        "elsewhere",
        "running",
        "stopped",
    )
    assert not any("s3cret" in str(row["url"]) for row in rows.values())


async def test_urls_are_those_of_what_runs(make, running):
    await make().up(["kafka"], nothing)
    assert make().urls() == {"bus": "kafka://:s3cret@h"}


async def test_an_unknown_server_is_refused_with_the_nearest_name(make):
    for call in (make().up, make().borrow):
        with pytest.raises(NotFound, match="did you mean 'postgres'"):
            await call(["postgre"], nothing)


def test_each_key_of_a_profile_has_its_server():
    assert [server_for(port) for port in ("store", "bus", "cache")] == ["postgres", "kafka", "redis"]


@pytest.mark.parametrize("text", ["postgres", "postgres="])
def test_use_wants_a_server_and_a_place(text):
    with pytest.raises(UsageError, match="write SERVER=URL"):
        parse_use(text)
    assert parse_use("postgres=/usr/lib/postgresql") == ("postgres", "/usr/lib/postgresql")
