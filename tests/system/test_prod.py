"""A profile on real servers, as typed at a terminal: what is checked before a start, migrated, started and stopped."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import count
from typing import NamedTuple

import pytest
from conftest import LIMIT, MICRO, environment

pytestmark = pytest.mark.live
_numbers = count(1)
PLANTED = "s3cret-that-nobody-may-see"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def items(self):
        return json.loads(self.out)["items"]


@pytest.fixture
def servers(postgres_server, kafka_server, redis_server):
    """The variables that say where servers are, with databases of this test's own."""
    number = next(_numbers)
    return {
        "MICRO_RUNNER": "single",  # one process is quicker to start; what several do is told below
        "MICRO_STORE": postgres_server.replace("{service}", f"prod_{number}_{{service}}"),
        "MICRO_BUS": kafka_server,
        "MICRO_CACHE": f"{redis_server}?prefix=prod_{number}:",
    }


@pytest.fixture
def micro(tmp_path, servers):
    """`micro(*arguments, **variables)`: one command in `tmp_path`, on the servers."""

    def run(*arguments, folder=tmp_path, **variables):
        done = subprocess.run(
            [MICRO, *arguments],
            cwd=folder,
            env=environment(servers | variables),
            capture_output=True,
            text=True,
            timeout=LIMIT * 3,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert "never retrieved" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.mark.usefixtures("built_in")
class TestMigrating:
    def test_a_missing_database_is_pending_until_it_is_made_and_then_a_stack_starts(
        self, micro, run, servers, tmp_path
    ):
        for _ in range(2):
            before = micro("db", "status", "--prod", "--json")
            assert (before.code, len(before.items)) == (1, 12)
            assert {item["applied_at"] for item in before.items} == {None}
        assert "no such database" in micro("db", "shell", "--prod", "task", "select 1").err
        refused = micro("up", "--prod")
        assert (refused.code, refused.out) == (2, "")
        assert "make it with: micro db migrate" in refused.err
        assert not (tmp_path / ".micro" / "run.json").exists()

        made = micro("db", "migrate", "--prod", "--service", "task")
        assert made.err == "made the database of task\n"
        assert {line.split()[0] for line in made.out.splitlines()[1:]} == {"task"}
        assert {
            item["service"] for item in micro("db", "status", "--prod", "--json").items if item["applied_at"]
        } == {"task"}
        rest = json.loads(micro("db", "migrate", "--prod", "--json").out)
        assert (sorted(rest["made"]), len(rest["items"])) == (["notification", "user"], 8)
        assert micro("db", "migrate", "--prod").err == "nothing to apply: all is up to date\n"
        assert micro("db", "status", "--prod").code == 0

        stack = run(MICRO, "up", "--prod", "--json", **servers).started()
        assert {each["health"] for each in stack.report["services"]} == {"healthy"}
        said = " ".join(stack.report["not_guaranteed"])
        assert "power cut" in said, "one broker alone"
        assert "rate limits hold for this one gateway" not in said
        stack.stop()

    def test_migrations_that_are_pending_keep_it_from_starting_unless_it_is_to_apply_them(
        self, micro, run, servers
    ):
        assert micro("db", "migrate", "--prod").code == 0
        micro(
            "db",
            "shell",
            "--prod",
            "--write",
            "task",
            "delete from micro_migrations where namespace = 'task'",
        )
        micro("db", "shell", "--prod", "--write", "task", "drop table tasks, categories cascade")
        refused = micro("up", "--prod")
        assert refused.code == 2
        assert refused.err == (
            "error: store: 1 migration of task is pending; apply with: micro db migrate --prod\n"
        )
        stack = run(MICRO, "up", "--prod", "--migrate", "--json", **servers).started()
        stack.stop()
        assert "1 migration applied" in stack.errors

    def test_a_shell_reads_only_unless_told_otherwise(self, micro):
        assert micro("db", "migrate", "--prod", "--service", "user").code == 0
        assert micro("db", "shell", "--prod", "user", "select count(*) as n from users").out == "N\n0\n"
        refused = micro("db", "shell", "--prod", "user", "delete from users")
        assert (refused.code, refused.out) == (2, "")
        assert "only reads" in refused.err
        assert (
            micro("db", "shell", "--prod", "--write", "user", "delete from users").err == "0 rows changed\n"
        )
        shown = micro(
            "db",
            "shell",
            "--prod",
            "user",
            "select now() as t, '{1,2}'::int[] as list, null as nothing",
            "--json",
        )
        assert json.loads(shown.out)["rows"][0][1:] == ["[1, 2]", None]


@pytest.mark.usefixtures("built_in")
class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "value", "said"),
        [
            ("MICRO_STORE", f"postgres://me:{PLANTED}@127.0.0.1/{{service}}", "did you mean 'postgresql'?"),
            ("MICRO_STORE", f"postgresql://me:{PLANTED}@127.0.0.1:1/{{service}}", "no server answers"),
            (
                "MICRO_STORE",
                f"postgresql://me:{PLANTED}/x@127.0.0.1/{{service}}",
                "can't be told from the rest",
            ),
            ("MICRO_STORE", f"{{store}}:{PLANTED}", "the password is wrong"),
            ("MICRO_BUS", f"kafka://me:{PLANTED}@127.0.0.1:1?security=sasl_plaintext", "no broker answers"),
            ("MICRO_BUS", f"{{bus}}:{PLANTED}", "check user, password and security"),
            ("MICRO_BUS", f"kafka://me:{PLANTED}@127.0.0.1:1?colour=red", "unknown option colour"),
            ("MICRO_CACHE", f"redis://:{PLANTED}@127.0.0.1:1/0", "no server answers"),
            ("MICRO_CACHE", f"{{cache}}:{PLANTED}", "refuses the user or the password"),
        ],
    )
    def test_each_is_one_line_and_the_password_is_nowhere(
        self, micro, servers, tmp_path, variable, value, said
    ):
        if value.startswith("{"):
            head, _, rest = servers[variable].partition("@")
            value = f"{head.rpartition(':')[0]}:{PLANTED}@{rest}"
        for command in (["up", "--prod", "--migrate"], ["doctor", "--prod"]):
            done = micro(*command, **{variable: value})
            shown = done.out + done.err
            assert said in shown
            assert PLANTED not in shown
            assert "Traceback" not in shown
            if command[0] == "up":
                assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        for file in (tmp_path / ".micro").rglob("*"):
            assert not file.is_file() or PLANTED not in file.read_text(errors="replace")
        assert not (tmp_path / ".micro" / "run.json").exists()

    def test_all_servers_away_is_two_lines(self, micro):
        done = micro(
            "up",
            "--prod",
            MICRO_STORE="postgresql://u:p@127.0.0.1:1/{service}",
            MICRO_BUS="kafka://127.0.0.1:1",
            MICRO_CACHE="redis://127.0.0.1:1/0",
        )
        assert (done.code, done.err.count("\n")) == (2, 2)
        assert "error: store:" in done.err
        assert "; cache: 127.0.0.1:1: no server answers" in done.err

    def test_the_doctor_shows_a_line_for_each_server(self, micro):
        assert micro("db", "migrate", "--prod").code == 0
        done = micro("doctor", "--prod", "--json")
        lines = {item["check"]: item for item in done.items}
        assert {name: lines[name]["state"] for name in ("store", "bus", "cache")} == dict.fromkeys(
            ("store", "bus", "cache"), "ok"
        )
        assert "PostgreSQL 18." in lines["store"]["detail"]
        assert "Valkey 9." in lines["cache"]["detail"]


class TestWithoutAStack:
    """The verbs of events on servers, from a folder where nothing ever ran, while a stack runs elsewhere or not."""

    @pytest.fixture
    def elsewhere(self, tmp_path):
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        return folder

    @pytest.mark.usefixtures("built_in")
    def test_every_verb_works_and_leaves_nothing_behind(self, micro, run, servers, elsewhere):
        stack = run(
            MICRO, "up", "--prod", "--migrate", "--json", **servers | {"MICRO_RUNNER": "multi"}
        ).started()
        bus = servers["MICRO_BUS"]
        tail = run(
            MICRO, "-C", str(elsewhere), "events", "tail", "--topic", "task.events", "--json", MICRO_BUS=bus
        )
        # What is there to see comes again and again until it is seen: nobody says when a tail has begun.
        seen = publish(micro, elsewhere, tail)
        assert seen["event"]["data"] == {"n": 1}
        tail.end()

        key = seen["event"]["subject"]
        found = micro(
            "events",
            "list",
            "--topic",
            "task.events",
            "--key",
            key,
            "--json",
            folder=elsewhere,
            MICRO_RUNNER="",
        )
        assert seen in found.items
        stats = json.loads(micro("events", "stats", "--prod", "--json", folder=elsewhere).out)
        assert {row["subscriber"] for row in stats["subscribers"]} == {"notification"}
        assert micro("dlq", "list", "--prod", folder=elsewhere).err == "no dead letters\n"
        assert "no service has a dead letter" in micro("dlq", "inspect", "--prod", "x", folder=elsewhere).err
        trace = micro("events", "trace", "--prod", seen["event"]["id"], "--json", folder=elsewhere)
        assert json.loads(trace.out)["roots"][0]["id"] == seen["event"]["id"]
        plan = micro(
            "events",
            "replay",
            "--prod",
            "--service",
            "notification",
            "--key",
            key,
            "--json",
            folder=elsewhere,
        )
        assert json.loads(plan.out)["done"] is False
        assert not (elsewhere / ".micro").exists()
        stack.stop()

    def test_a_database_that_is_not_migrated_is_told_as_that(self, micro, elsewhere):
        done = micro("dlq", "list", "--prod", folder=elsewhere)
        assert done.code == 1
        assert "make it with: micro db migrate" in done.err


def publish(micro, folder, tail):
    """Publish until the tail shows it; what it shows."""
    for _ in range(20):
        done = micro(
            "events",
            "publish",
            "--prod",
            "task.events",
            "Noted",
            "--key",
            "tail",
            "--data",
            '{"n": 1}',
            folder=folder,
        )
        assert done.code == 0, done.err
        if not tail._lines.empty():
            return json.loads(tail.line())
    return json.loads(tail.line())


@pytest.mark.usefixtures("built_in")
class TestLocalServers:
    """`--infra` and `micro infra`: with nothing configured at all."""

    @pytest.fixture
    def alone(self, micro):
        """The same command without the variables."""

        def run(*arguments):
            return micro(*arguments, MICRO_RUNNER="", MICRO_STORE="", MICRO_BUS="", MICRO_CACHE="")

        yield run
        run("infra", "down")

    def running(self, alone):
        return {row["server"]: row["pid"] for row in alone("infra", "status", "--json").items if row["pid"]}

    def test_where_nothing_is_configured_it_says_so_and_offers_to_start_some(self, alone, tmp_path):
        done = alone("up", "--prod")
        assert (done.code, done.out) == (2, "")
        assert "set MICRO_STORE, MICRO_BUS and MICRO_CACHE" in done.err
        assert "micro up --prod --infra" in done.err
        assert not (tmp_path / ".micro").exists()
        assert "uses no servers" in alone("up", "--infra").err

    def test_they_are_started_migrated_and_stopped_with_the_stack_even_after_it_was_killed(self, alone, run):
        up = [MICRO, "up", "--prod", "--infra", "--json"]
        killed = run(*up).started()
        before = self.running(alone)
        assert before.keys() == {"postgres", "redis", "kafka"}
        killed.kill()
        assert self.running(alone) == before

        again = run(*up).started()
        assert self.running(alone) == before, "adopted, not started again"
        again.stop()
        assert self.running(alone) == {}
        assert "stopped postgres, redis and kafka" in again.errors

        assert alone("infra", "up", "postgres", "redis").code == 0
        kept = self.running(alone)
        third = run(*up).started()
        refused = alone("infra", "down", "redis")
        assert refused.code == 2
        assert "works with redis; stop it first: micro down" in refused.err
        assert self.running(alone).keys() == {"postgres", "redis", "kafka"}, (
            "none is taken from under a stack"
        )
        third.stop()
        assert self.running(alone) == kept, "those it found running go on"
        assert any("power cut" in sentence for sentence in third.report["not_guaranteed"]), "one broker"

        assert alone("infra", "up").code == 0
        plain = run(MICRO, "up", "--prod", "--json").started()
        plain.stop()
        assert len(self.running(alone)) == 3

    def test_asked_to_stop_while_it_starts_them_it_leaves_none_running(self, alone, run):
        stack = run(MICRO, "up", "--prod", "--infra")
        while "starting postgres" not in stack.errors:
            os.sched_yield()
        stack.stop()
        assert self.running(alone) == {}
