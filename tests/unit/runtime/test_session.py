"""Where a command works: which folder, and whether the running stack or this process does what is asked."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from micro.errors import ConfigurationError, StackNotRunning, UsageError
from micro.runtime.client import RunningStack
from micro.runtime.operations import offline as offline_verbs
from micro.runtime.session import Session, perform
from micro.testing import FakeClock


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path, environ={}, clock=FakeClock())


class TestState:
    def test_it_lies_beside_the_nearest_configuration(self, tmp_path):
        (tmp_path / "micro.toml").write_text("")
        below = tmp_path / "a" / "b"
        below.mkdir(parents=True)
        assert Session(below, environ={}).state == tmp_path / ".micro"

    def test_it_lies_in_the_folder_itself_without_a_configuration(self, session, tmp_path):
        assert session.state == tmp_path / ".micro"

    def test_it_is_the_same_that_the_configuration_says(self, session, tmp_path):
        assert session.state == session.config.stack.state
        (tmp_path / "pyproject.toml").write_text("[tool.micro]\n")
        below = tmp_path / "below"
        below.mkdir()
        again = Session(below, environ={})
        assert again.state == again.config.stack.state == tmp_path / ".micro"

    def test_a_broken_configuration_hides_no_running_stack(self, tmp_path):
        (tmp_path / "micro.toml").write_text("[broken")
        below = tmp_path / "below"
        below.mkdir()
        with pytest.raises(ConfigurationError):
            _ = Session(below, environ={}).state
        (tmp_path / ".micro").mkdir()
        (tmp_path / ".micro" / "run.json").write_text("{}")
        assert Session(below, environ={}).state == tmp_path / ".micro"


def test_flags_and_profile_reach_the_configuration(tmp_path):
    session = Session(tmp_path, environ={}, profile="dev", flags={"gateway.port": 9000})
    assert session.config.stack.gateway.port == 9000
    assert session.profile.name == "dev"


class TestRunnableProfile:
    def test_one_that_it_runs_comes_with_its_variables_expanded(self, tmp_path):
        (tmp_path / "micro.toml").write_text("[profiles.dev]\nstore = 'sqlite:${WHERE}/{service}.db'\n")
        session = Session(tmp_path, environ={"WHERE": "here"})
        assert session.runnable_profile.store == "sqlite:here/{service}.db"

    def test_where_no_server_is_configured_and_none_runs_it_says_what_to_set_and_how_to_start_some(
        self, tmp_path
    ):
        (tmp_path / "micro.toml").write_text("[profiles.prod]\nrunner = 'single'\n")
        session = Session(tmp_path, environ={"MICRO_BUS": "kafka://b"}, profile="prod")
        with pytest.raises(ConfigurationError) as caught:
            _ = session.runnable_profile
        assert str(caught.value) == (
            "profile prod: no server is configured for store and cache, and micro infra runs none here; set MICRO_STORE "
            "and MICRO_CACHE (or write it in micro.toml), or start local servers: micro up --prod --infra"
        )
        assert not (tmp_path / ".micro").exists()

    def test_local_servers_take_the_place_of_whatever_servers_the_profile_names(self, tmp_path):
        text = "[profiles.team]\nrunner = 'single'\nstore = 'sqlite:{service}.db'\nbus = 'kafka://${WHERE}'\ncache = 'memory:'\n"
        (tmp_path / "micro.toml").write_text(text)
        found = Session(tmp_path, environ={}, profile="team").local_profile()
        assert (found.local, found.store, found.place("bus").file) == (
            ("bus",),
            "sqlite:{service}.db",
            "flag",
        )
        with pytest.raises(ConfigurationError, match="profile dev uses no servers"):
            Session(tmp_path, environ={}).local_profile()


async def double(*, number: int) -> dict:
    return {"number": number * 2}


async def of(*, service: str) -> dict:
    return {"of": service}


async def count(*, to: int):
    for number in range(to):
        yield {"n": number}


class TestPerform:
    async def test_a_coroutine_is_the_end(self):
        assert await perform(double, {"number": 4}, None) == {"number": 8}

    async def test_a_generator_s_items_come_one_by_one(self):
        items: list[dict] = []
        assert await perform(count, {"to": 2}, items.append) == {}
        assert items == [{"n": 0}, {"n": 1}]
        assert await perform(count, {"to": 2}, None) == {}

    async def test_a_wrong_argument_is_misuse(self):
        with pytest.raises(UsageError, match="unexpected keyword argument 'size'"):
            await perform(double, {"size": 4}, None)


class TestAsk:
    @pytest.fixture
    def offline(self, monkeypatch):
        """The verbs of a stack that does not run; says how often it was opened."""
        opened: list[tuple[str, str, str | None]] = []
        verbs = {"events.list": count, "events.stats": double, "db.migrate": double, "db.status": of}

        @asynccontextmanager
        async def open_offline(config, profile, *, verb, service, clock):
            opened.append((profile.name, verb, service))
            yield verbs[verb]

        monkeypatch.setattr(offline_verbs, "open_offline", open_offline)
        return opened

    def test_without_a_stack_this_process_does_it(self, session, offline):
        items: list[dict] = []
        session.ask("events.list", {"to": 1, "since": None}, each=items.append)
        assert items == [{"n": 0}]
        assert session.ask("events.stats", {"number": 1}) == {"number": 2}
        assert offline == [("dev", "events.list", None), ("dev", "events.stats", None)]

    def test_of_the_databases_it_opens_the_one_that_is_named(self, session, offline):
        assert session.ask("db.status", {"service": "task"}) == {"of": "task"}
        assert offline == [("dev", "db.status", "task")]

    def test_a_bus_of_one_process_can_not_be_followed_from_another(self, session, offline):
        with pytest.raises(StackNotRunning, match="micro up"):
            session.ask("events.tail", {})
        assert offline == []

    def test_what_needs_a_running_stack_is_refused(self, session, offline):
        with pytest.raises(StackNotRunning, match="micro up"):
            session.ask("ps", {})
        assert offline == []

    def test_the_running_stack_is_asked_first(self, session, offline, monkeypatch, tmp_path):
        asked = []

        def ask(stack, verb, args, **options):
            asked.append((verb, args))
            return {"n": 1}

        monkeypatch.setattr(RunningStack, "ask", ask)
        monkeypatch.setattr(RunningStack, "listens", lambda stack: True)
        (tmp_path / ".micro").mkdir()
        (tmp_path / ".micro" / "run.json").write_text(json.dumps({"pid": 1, "socket": "/x"}))
        assert session.ask("events.list", {"topic": "t", "type": None}) == {"n": 1}
        assert asked == [("events.list", {"topic": "t"})], "what was not said is not sent"
        assert offline == []


def test_a_token_is_signed_with_the_stack_s_own_key(session):
    token = session.token("ada", role="admin", ttl=60.0)
    assert token.count(".") == 2
    assert (session.state / "keys" / "stack.json").stat().st_mode & 0o077 == 0


async def test_waiting_ends_when_the_time_is_over(tmp_path):
    clock = FakeClock()
    session = Session(tmp_path, environ={}, clock=clock)
    before = clock.monotonic()
    with pytest.raises(StackNotRunning):
        await session.wait_until_ready(0.0)
    assert clock.monotonic() == before
