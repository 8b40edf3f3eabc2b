"""All servers of a folder together: which are borrowed, and who gives them back."""

from __future__ import annotations

import json

import pytest

from micro.clock import SystemClock
from micro.errors import ConfigurationError, MissingExtra, NotFound, UsageError
from micro.infra import local as module
from micro.infra.local import Local, parse_use, server_for
from micro.infra.server import Record, ServerFailed

RUNNING: dict[str, set[str]] = {}
"""By folder, what runs: it outlives the objects, as processes do."""


class Fake:
    """A server without a process."""

    fails = ()
    absent = ()
    version = "1"

    def __init__(self, folder, *, clock, installed=None):
        self.installed = installed
        self._running = RUNNING.setdefault(str(folder), set())

    @property
    def pid(self):
        return 7 if self.name in self._running else None

    @property
    def record(self):
        return Record(ports=[1], password="p", version="1")

    def url(self, record):
        return f"{self.name}://:s3cret@h"

    def find(self):
        if self.name in Fake.absent:
            raise MissingExtra("micro infra", "infra")
        if self.installed is not None and not self.installed.exists():
            raise ConfigurationError("no such program", file=self.installed)

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
    monkeypatch.setattr(Fake, "absent", ())
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


def kept(tmp_path):
    file = tmp_path / "infra" / "use.json"
    return json.loads(file.read_text()) if file.exists() else {}


async def test_before_anything_is_made_all_that_is_to_start_is_looked_for(make, tmp_path, monkeypatch):
    monkeypatch.setattr(Fake, "absent", ("kafka",))
    for call in (make().up, make().borrow):
        with pytest.raises(MissingExtra, match=r"microup\[infra\]"):
            await call((), nothing)
    assert not (tmp_path / "infra").exists()
    assert await make().up(["postgres"], nothing) == ["postgres"]


async def test_what_runs_is_not_looked_for_nor_is_what_is_elsewhere(make, monkeypatch):
    await make().up(["postgres"], nothing)
    await make(use={"redis": "redis://h/0"}).up(["redis"], nothing)
    monkeypatch.setattr(Fake, "absent", ("postgres", "redis"))
    assert await make().up((), nothing) == ["kafka"]


async def test_a_place_that_is_wrong_is_not_kept(make, running, tmp_path):
    for names in ((), ("postgres",)):
        with pytest.raises(ConfigurationError, match="no such program"):
            await make(use={"redis": str(tmp_path / "nowhere")}).up(names, nothing)
    assert (running, kept(tmp_path)) == (set(), {})


async def test_a_place_whose_server_does_not_start_is_not_kept_and_the_one_before_is(
    make, running, tmp_path, monkeypatch
):
    program, broken = tmp_path / "program", tmp_path / "broken"
    program.touch()
    broken.touch()
    await make(use={"redis": str(program)}).up(["redis"], nothing)
    await make().down()
    monkeypatch.setattr(Fake, "fails", ("redis",))
    with pytest.raises(ServerFailed):
        await make(use={"redis": str(broken)}).up(["redis"], nothing)
    assert (running, kept(tmp_path)) == (set(), {"redis": str(program)})
    assert make().server("redis").installed == program


@pytest.mark.parametrize("before", ["redis://h/0", "/dev/null"])
async def test_there_is_a_way_back_to_our_own(make, running, tmp_path, before):
    await make(use={"redis": before}).up(["redis"], nothing)
    await make().down()
    assert await make(use={"redis": "micro"}).up(["redis"], nothing) == ["redis"]
    assert kept(tmp_path) == {}
    assert make().server("redis").installed is None


async def test_what_is_to_be_used_is_started_besides_those_that_are_named(make, tmp_path):
    assert await make(use={"redis": "/dev/null"}).up(["kafka"], nothing) == ["redis", "kafka"]
    assert kept(tmp_path) == {"redis": "/dev/null"}


@pytest.mark.parametrize("where", ["redis://h/0", "/dev/null"])
async def test_one_that_runs_is_not_left_behind_for_another(make, running, tmp_path, where):
    await make().up(["redis"], nothing)
    with pytest.raises(UsageError, match="redis runs already; stop that one first: micro infra down redis"):
        await make(use={"redis": where}).up(["redis"], nothing)
    assert (running, kept(tmp_path)) == ({"redis"}, {})
    await make().down(["redis"])
    await make(use={"redis": where}).up(["redis"], nothing)
    await make(use={"redis": where}).up(["redis"], nothing)
    assert kept(tmp_path) == {"redis": where}


async def test_a_server_of_ours_is_stopped_whatever_is_used_in_its_place_by_now(make, running, tmp_path):
    await make().up(["redis"], nothing)
    (tmp_path / "infra" / "use.json").write_text('{"redis": "redis://h/0"}')
    assert await make().down() == ["redis"]
    assert running == set()


@pytest.mark.parametrize("text", ["postgres", "postgres="])
def test_use_wants_a_server_and_a_place(text):
    with pytest.raises(UsageError, match="write SERVER=URL"):
        parse_use(text)
    assert parse_use("postgres=/usr/lib/postgresql") == ("postgres", "/usr/lib/postgresql")
    assert parse_use("redis=micro") == ("redis", "micro")


def test_a_path_means_the_same_wherever_a_later_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_use("redis=bin/redis-server") == ("redis", str(tmp_path / "bin" / "redis-server"))


def test_a_program_is_found_on_the_path(tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert parse_use("redis=redis-server") == ("redis", str(program))


@pytest.mark.parametrize("url", ["redis://:s3cret@h/0", "nonsense://:s3cret@h", "sqlite://s3cret"])
def test_a_url_is_of_a_server_that_can_take_the_place(url):
    with pytest.raises(
        UsageError, match=f"no server of '{url.partition(':')[0]}:' can take its place"
    ) as caught:
        parse_use(f"postgres={url}")
    assert "s3cret" not in str(caught.value)
    assert parse_use("redis=rediss://:s3cret@h/0") == ("redis", "rediss://:s3cret@h/0")


def test_an_unknown_name_is_told_before_its_place():
    with pytest.raises(NotFound, match="did you mean 'redis'"):
        parse_use("rediss=rediss://h")
