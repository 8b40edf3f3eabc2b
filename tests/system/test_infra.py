"""`micro infra` with the real servers, as typed at a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.live


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


def test_kafka_starts_on_the_packaged_java_even_where_the_machine_has_one(micro, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    monkeypatch.setenv("PATH", os.pathsep.join(["/bin", "/usr/bin"]))
    assert states(micro("infra", "up", "kafka", "--json"))["kafka"] == "running"
    assert "metadata.version" in micro("infra", "logs", "kafka").stdout


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
        (["logs", "mysql"], "no server 'mysql'"),
    ],
)
def test_what_is_not_there_is_one_sentence(micro, arguments, sentence):
    done = micro("infra", *arguments, code=2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
