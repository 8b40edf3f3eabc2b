"""`down`, `wait`, `ps` and `health` against a stack that answers as told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

HEALTHY = {
    "status": "healthy",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "services": {"task": "healthy", "user": "healthy"},
}
DEGRADED = {**HEALTHY, "status": "degraded", "services": {"task": "unhealthy", "user": "healthy"}}
PS = [
    {
        "service": "task",
        "state": "healthy",
        "url": "http://127.0.0.1:8002",
        "pid": 7,
        "uptime": 65.0,
        "restarts": 0,
        "instance": "task-1",
        "cpu": 1.5,
        "memory": 54_300_000,
    },
    {"service": "user", "state": "unhealthy", "url": None, "pid": None, "uptime": None, "restarts": 2},
]


@pytest.mark.parametrize("verb", [["ps"], ["health"], ["routes"], ["call", "GET", "/"], ["events", "tail"]])
def test_without_a_stack_one_sentence_names_the_command_that_starts_one(micro, home, verb):
    code, out, err = micro(*verb)
    assert (code, out) == (2, "")
    assert err == f"error: no stack is running in {home}; start one with: micro up\n"


def test_ps_is_a_table_in_a_pipe(micro, stack):
    stack.answers["ps"] = [{"end": {"items": PS}}]
    code, out, _ = micro("ps")
    assert code == 0
    assert out.splitlines() == [
        "SERVICE  INSTANCE  STATE      URL                    PID  UPTIME   RESTARTS  CPU    MEMORY",
        "task     task-1    healthy    http://127.0.0.1:8002  7    1 m 5 s  0         1.5 s  54 MB",
        "user               unhealthy                                       2",
    ]


def test_ps_shows_the_ports_of_instances_where_they_have_some(micro, stack):
    stack.answers["ps"] = [{"end": {"items": [{**PS[0], "port": 40001}, PS[1]]}}]
    _, out, _ = micro("ps")
    assert [line.split()[4] for line in out.splitlines()[:2]] == ["PORT", "40001"]


def test_ps_as_json_is_one_object_with_the_items(micro, stack):
    stack.answers["ps"] = [{"end": {"items": PS}}]
    assert micro("ps", "--json").json == {"items": PS}


@pytest.mark.parametrize(("health", "code"), [(HEALTHY, 0), (DEGRADED, 1)])
def test_health_exits_with_0_only_when_all_are_healthy(micro, stack, health, code):
    stack.answers["health"] = [{"end": health}]
    result = micro("health")
    assert result.code == code
    assert result.out.startswith(f"{health['status']}  2 services\n")
    assert micro("health", "--json").json == health


def test_wait_asks_the_stack_and_reports_as_health_does(micro, stack):
    stack.answers["wait"] = [{"end": {"ready": True, **HEALTHY}}]
    assert micro("wait", "--timeout", "2s").code == 0
    verb, args = stack.asked[-1]
    assert verb == "wait"
    assert 0 < args["timeout"] <= 2


def test_wait_for_a_stack_that_stays_unwell_exits_with_1(micro, stack):
    stack.answers["wait"] = [{"end": {"ready": False, **DEGRADED}}]
    assert micro("wait", "--timeout", "1s").code == 1


def test_wait_for_a_stack_that_never_comes_says_how_to_start_one(micro):
    code, out, err = micro("wait", "--timeout", "10ms")
    assert (code, out) == (1, "")
    assert err.startswith("error: waited 10 ms, and no stack is running in ")
    assert "micro up" in err


def test_wait_finds_a_stack_that_comes_later(micro, stack, home):
    record = home / ".micro" / "run.json"
    record.unlink()
    stack.answers["wait"] = [{"end": {"ready": True, **HEALTHY}}]
    publish = threading.Timer(0.05, stack.publish)
    publish.start()
    assert micro("wait", "--timeout", "20s").code == 0
    publish.join()


def test_down_waits_until_the_process_has_let_go_of_its_folder(micro, stack, home):
    lock = home / ".micro" / "lock"
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        stack.answers["stop"] = [{"end": {}}]
        code, _, err = micro("down", "--timeout", "10ms")
        assert code == 1
        assert "still finishing" in err
        holder.communicate(b"\n")
    code, _, err = micro("down", "--timeout", "20s")
    assert code == 0
    assert err.startswith("stopped (process ")


def test_down_with_nothing_running_says_so_and_is_done(micro):
    assert micro("down") == (0, "", "nothing to stop: no stack is running here\n")


HOLDER = """
import fcntl, os, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(str(os.getpid()))
lock.flush()
print("held", flush=True)
input()
"""


@pytest.fixture
def starting(home):
    """A process that holds the folder, as one does that starts a stack."""
    (home / ".micro").mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(home / ".micro" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("\n")


def test_down_stops_a_stack_that_is_being_started_as_soon_as_it_is_up(micro, starting, stack, home):
    record = home / ".micro" / "run.json"
    record.rename(home / "later.json")
    stack.answers["stop"] = [{"end": {}}]

    def end():
        while not stack.asked:
            threading.Event().wait(0.01)
        starting.communicate("\n")

    coming, ending = (
        threading.Timer(0.2, (home / "later.json").rename, [record]),
        threading.Thread(target=end),
    )
    coming.start()
    ending.start()
    assert micro("down").err.startswith("stopped (process ")
    ending.join()
    assert stack.asked == [("stop", {})]


def test_down_waits_for_a_start_that_fails_and_not_for_ever(micro, starting):
    code, _, err = micro("down", "--timeout", "10ms")
    assert code == 1
    assert err == f"error: process {starting.pid} is at work here, and no stack is up yet; see: micro logs\n"
    ending = threading.Timer(0.2, starting.communicate, ["\n"])
    ending.start()
    assert micro("down").err == "nothing to stop: no stack is running here\n"
    ending.join()


def test_down_works_while_the_configuration_is_broken(micro, stack, home):
    """A file being edited must not keep the person from stopping the stack."""
    (home / "micro.toml").write_text("[broken")
    stack.answers["stop"] = [{"end": {}}]
    assert micro("down").code == 0


def test_a_broken_configuration_without_a_stack_is_told(micro, home):
    (home / "micro.toml").write_text("[broken")
    code, _, err = micro("ps")
    assert code == 2
    assert err.startswith("error: micro.toml: is not valid TOML")
    assert err.count("\n") <= 2


def test_what_the_stack_refuses_is_one_sentence(micro, stack):
    stack.answers["ps"] = [{"error": {"kind": "usage", "message": "no such thing"}}]
    assert micro("ps") == (2, "", "error: no such thing\n")
    stack.answers["ps"] = [{"error": {"kind": "internal", "message": "that failed; see: micro logs"}}]
    assert micro("ps") == (1, "", "error: that failed; see: micro logs\n")


def test_another_folder_s_stack_is_reached_by_naming_the_folder(micro, stack, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    stack.answers["ps"] = [{"end": {"items": PS}}]
    for arguments in (["-C", str(stack.home), "ps", "--json"], ["ps", "-C", str(stack.home), "--json"]):
        assert micro(*arguments).json == {"items": PS}


def test_a_record_that_a_killed_stack_left_is_not_taken_for_one_that_runs(micro, home):
    (home / ".micro").mkdir()
    (home / ".micro" / "run.json").write_text(json.dumps({"pid": 1, "socket": "/nowhere/s"}))
    assert micro("ps").code == 2
