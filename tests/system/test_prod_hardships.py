"""A stack in many processes on real servers, at the worst of times: no driver, no disk, no patience, no terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import termios
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from itertools import count
from pathlib import Path

import psutil
import pytest
from conftest import LIMIT, LOOK, MICRO, environment

from micro.clock import SystemClock

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("built_in")]
_numbers = count(1)
CLOCK = SystemClock()
PAUSE = threading.Event()
"""Never set: waiting for it passes a moment between two looks at what can't be waited for."""


@pytest.fixture
def servers(postgres_server, kafka_server, redis_server):
    """The variables that say where servers are, with databases that all tests here share."""
    return {
        "MICRO_STORE": postgres_server.replace("{service}", "hardships_{service}"),
        "MICRO_BUS": kafka_server,
        "MICRO_CACHE": f"{redis_server}?prefix=hardships_{next(_numbers)}:",
    }


@pytest.fixture
def micro(tmp_path, servers):
    def run(*arguments, limit_files=False, **variables):
        return subprocess.run(
            [MICRO, *arguments],
            cwd=tmp_path,
            env=environment(servers | variables),
            capture_output=True,
            text=True,
            timeout=LIMIT * 3,
            check=False,
            preexec_fn=_full_disk if limit_files else None,
        )

    return run


def _full_disk():
    """As on a full disk, nothing can be written to any file: the error differs in its number only."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _own_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def up(run, servers):
    """`up()` starts the stack and returns when it is ready."""

    def start(*options):
        return run(MICRO, "up", "--prod", "--migrate", "--json", *options, **servers).started()

    return start


def processes(folder):
    """Whatever of micro runs in that folder."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.cwd() == str(folder) and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except psutil.Error:
            continue
    return found


def gone(folder):
    """Wait until nothing of micro is left there."""
    for _ in range(int(LIMIT / LOOK)):
        if not processes(folder):
            return
        PAUSE.wait(LOOK)
    raise AssertionError([each.cmdline() for each in processes(folder)])


def rows(stack, service=None):
    return [row for row in stack.ask("ps")[0] if service in (None, row["service"])]


def status(stack, path):
    try:
        with urllib.request.urlopen(f"http://{stack.gateway}{path}", timeout=LIMIT) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    ("driver", "extra"), [("asyncpg", "postgres"), ("aiokafka", "kafka"), ("redis", "redis")]
)
def test_a_missing_driver_is_named_with_the_command_that_installs_it(micro, tmp_path, driver, extra):
    without = tmp_path / "without"
    without.mkdir()
    (without / f"{driver}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{driver}'\", name='{driver}')"
    )
    for command in (["up", "--prod"], ["doctor", "--prod"]):
        done = micro(*command, PYTHONPATH=str(without))
        assert f"pip install 'microup[{extra}]'" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if command[0] == "up":
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.count("\n") <= 2  # one of ours, and one on databases that nobody has made yet
    assert not (tmp_path / ".micro" / "run.json").exists()


def test_no_password_can_be_seen_while_a_stack_runs(micro, up, servers, tmp_path):
    """Not by a command, not in a file, not in the list of processes."""
    stack = up()
    secrets = [url.partition("@")[0].rpartition(":")[2] for url in servers.values()]
    assert all(len(secret) > 10 for secret in secrets)
    shown = [
        micro(*command, "--prod").stdout
        for command in (
            ["ps", "--json"], ["doctor"], ["doctor", "--json"], ["profile", "show", "prod", "--json"], ["logs"],
            ["routes", "--json"], ["events", "stats"], ["db", "status"], ["health", "--json"],
        )
    ]  # fmt: skip
    for path in ("/health", "/metrics", "/openapi.json", "/tasks"):
        try:
            shown.append(urllib.request.urlopen(f"http://{stack.gateway}{path}").read().decode())
        except urllib.error.HTTPError as error:
            shown.append(error.read().decode())
            error.close()
    shown += [Path(f"/proc/{each.pid}/cmdline").read_text() for each in processes(tmp_path)]
    stack.stop()
    shown += [stack.errors, json.dumps(stack.report)]
    shown += [path.read_text(errors="replace") for path in (tmp_path / ".micro").rglob("*") if path.is_file()]
    assert len(shown) > 20
    for text in shown:
        assert not [secret for secret in secrets if secret in text], text[:2000]


def test_nothing_can_be_written_at_the_start_is_one_line(micro, tmp_path):
    for options in ([], ["--detach"]):
        done = micro("up", "--prod", *options, limit_files=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"error: {tmp_path}/.micro: can't write here: File too large\n"
    gone(tmp_path)


def test_a_stack_goes_on_serving_when_nothing_can_be_written_any_more(up, tmp_path):
    """It says so; what ends is started again, and what is asked for is done."""
    stack = up()
    for each in processes(tmp_path):
        with suppress(psutil.NoSuchProcess):  # it was of the start, and has ended with it
            each.rlimit(psutil.RLIMIT_FSIZE, (0, 0))
    for _ in range(5):
        assert status(stack, "/tasks") == 401
    stack.ask("restart", service="task")
    stack.ask("scale", service="task", count=2)
    [user] = rows(stack, "user")
    os.kill(user["pid"], signal.SIGKILL)
    stack.until(lambda: [row["state"] for row in rows(stack, "user") if row["restarts"]] == ["healthy"])
    assert status(stack, "/tasks") == 401
    assert len(rows(stack, "task")) == 2
    stack.until(lambda: "can't write to" in stack.errors)
    stack.stop()
    assert "Traceback" not in stack.errors


def test_a_stack_whose_folder_was_removed_serves_and_stops(up, tmp_path):
    stack = up()
    shutil.rmtree(tmp_path / ".micro")
    assert status(stack, "/tasks") == 401
    stack.stop()
    gone(tmp_path)


def test_a_second_start_in_the_folder_is_refused_and_harms_nobody(micro, up):
    stack = up()
    for options in ([], ["--detach"], ["--infra"]):
        done = micro("up", "--prod", *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: a stack already runs here (process {stack.pid}, ")
    assert status(stack, "/tasks") == 401
    stack.stop()


def test_down_in_another_terminal_stops_a_stack_that_is_being_started(micro, run, servers, tmp_path):
    stack = run(MICRO, "up", "--prod", "--migrate", "--json", **servers)
    stack.until((tmp_path / ".micro" / "lock").exists)
    done = micro("down")
    assert done.stderr == f"stopped (process {stack.pid})\n"
    assert stack.wait() == 0
    gone(tmp_path)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_at_any_moment_of_the_start_leaves_nothing(run, up, servers, tmp_path, times):
    """The moments are parts of what the start before has taken."""
    began = CLOCK.monotonic()
    up().stop()
    took = CLOCK.monotonic() - began
    for share in (0.25, 0.5, 0.75):
        stack = run(MICRO, "up", "--prod", "--json", **servers)
        with suppress(TimeoutError):  # a pause that ends with the process
            stack.exit_code(took * share)
        for _ in range(times):
            os.kill(stack.pid, signal.SIGINT)
        assert stack.wait() in {0, 130, -signal.SIGINT}
        gone(tmp_path)


def closing_its_terminal(folder, *arguments, when, variables):
    """Run micro in a terminal that is closed when it has said `when`; returns when it has ended."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [MICRO, *arguments],
        cwd=folder,
        env=environment(variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_own_terminal,  # noqa: PLW1509 # a terminal is taken by the process itself
    )
    os.close(theirs)
    seen = b""
    while when not in seen:
        seen += os.read(ours, 4096)
    os.close(ours)
    process.wait(LIMIT)
    gone(folder)


def test_the_end_of_its_terminal_ends_it(servers, tmp_path):
    closing_its_terminal(
        tmp_path, "up", "--prod", "--migrate", when=b"next, in another terminal", variables=servers
    )


def test_the_end_of_its_terminal_stops_the_servers_that_it_was_starting(tmp_path):
    closing_its_terminal(tmp_path, "up", "--prod", "--infra", when=b"starting kafka", variables={})
    shown = subprocess.run(
        [MICRO, "infra", "status", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert [item["state"] for item in json.loads(shown.stdout)["items"]] == ["stopped"] * 3
