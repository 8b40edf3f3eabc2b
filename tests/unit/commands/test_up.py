"""`micro up` for real: a stack of one service, in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket

import pytest

HELLO = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.fixture(autouse=True)
def _hello(home):
    (home / "hello.py").write_text(HELLO)
    (home / "micro.toml").write_text(
        '[stack]\nname = "demo"\n[services.hello]\napp = "hello:app"\nroutes = ["/hello"]\n'
    )


@pytest.fixture
def up(micro_process):
    """Starts `micro up` on a free port; whatever is left at the end is stopped."""
    started = []

    def start(*arguments, **options):
        started.append(micro_process("up", "--port", "0", *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def refused(micro_process):
    """Runs `micro up`, which must refuse to start; what it said on stderr."""

    def start(*arguments: str) -> str:
        process = micro_process("up", *arguments, text=True)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") <= 2
        return err

    return start


def read_until(descriptor: int, text: str) -> str:
    """What a terminal shows until `text` comes."""
    shown = ""
    while text not in shown:
        assert select.select([descriptor], [], [], 20)[0], f"waited for {text!r} after {shown!r}"
        shown += os.read(descriptor, 10_000).decode()
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_the_report_says_what_runs_where_and_what_to_do_next(up):
    process = up()
    lines = []
    while "micro down" not in (lines or [""])[-1]:
        lines.append(process.stdout.readline().decode().rstrip())
    assert re.fullmatch(r"demo is up, profile dev, in [\d.]+ m?s; edits are followed", lines[0])
    assert re.fullmatch(
        r"  gateway  http://127.0.0.1:\d+  documentation at http://127.0.0.1:\d+/docs", lines[1]
    )
    assert re.match(r"  hello    .*healthy", lines[2])
    assert "profile dev does not guarantee:" in lines
    assert "next, in another terminal:" in lines
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"")
    assert b"stopping" in err
    assert b"Traceback" not in err


def test_sigterm_ends_it_with_0_as_well(up):
    process = up("--no-reload", "--json")
    report = json.loads(process.stdout.readline())
    assert (report["stack"], report["profile"], report["reload"]) == ("demo", "dev", False)
    process.terminate()
    assert process.wait(60) == 0


def test_detached_it_returns_when_it_is_ready_and_down_ends_it(micro, refused, home):
    code, out, err = micro("up", "--port", "0", "--detach", "--no-reload")
    assert code == 0, err
    try:
        assert out.startswith("demo is up")
        assert micro("health").code == 0
        assert micro("call", "GET", "/hello").out == "hello"
        assert refused("--port", "0").startswith("error: a stack already runs here")
        assert refused("--port", "0", "-d").startswith("error: a stack already runs here")
    finally:
        assert micro("down").code == 0
    assert not (home / ".micro" / "run.json").exists()


def test_detached_it_prints_its_report_as_json(micro):
    result = micro("up", "--port", "0", "-d", "--no-reload", "--json", "hello", "--dev", "--no-deps")
    assert result.json["services"][0]["name"] == "hello"
    assert micro("down").code == 0


@pytest.mark.parametrize("detached", [[], ["--detach"]])
def test_a_port_in_use_is_one_sentence_and_leaves_nothing_running(micro, refused, home, detached):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        err = refused("--port", str(port), "--no-reload", *detached)
    assert err.startswith(f"error: gateway: 127.0.0.1:{port} is in use; choose another with --port")
    assert not (home / ".micro" / "run.json").exists()
    assert micro("down").err == "nothing to stop: no stack is running here\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["helo"], "did you mean 'hello'?"),
        (["--prod"], "no server is configured for store, bus and cache"),
        (["--infra"], "profile dev uses no servers"),
        (["--port", "70000"], "--port '70000': is not a port"),
        (["--profile", "nope"], "no profile 'nope'"),
    ],
)
def test_what_can_not_be_started_is_one_sentence(refused, arguments, said):
    assert said in refused(*arguments)


def test_a_broken_service_is_one_sentence(refused, home):
    (home / "hello.py").write_text("1 / 0")
    assert "ZeroDivisionError" in refused("--port", "0")


def test_a_terminal_shows_requests_and_events_as_they_happen(up, micro):
    master, slave = pty.openpty()
    process = up("--no-reload", stdout=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})
    os.close(slave)
    read_until(master, "micro down")
    assert micro("call", "GET", "/hello").code == 0
    assert "hello" in read_until(master, "GET /hello  ")
    assert (
        micro("events", "publish", "demo.events", "DemoEvent", "--key", "k", "--data", '{"a": 1}').code == 0
    )
    assert "DemoEvent" in read_until(master, "a=1")
    assert micro("down").code == 0
    assert process.wait(60) == 0
    os.close(master)


def test_a_reader_that_leaves_does_not_stop_the_stack(up, micro):
    process = up("--no-reload")
    process.stdout.readline()
    process.stdout.close()
    assert micro("wait", "--timeout", "20s").code == 0
    assert micro("call", "GET", "/hello").out == "hello"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_an_edit_is_told_on_standard_error(up, micro, home):
    process = up()
    assert micro("wait", "--timeout", "20s").code == 0
    (home / "hello.py").write_text(HELLO.replace("hello", "changed"))
    line = process.stderr.readline()
    while b"hello" not in line:
        line = process.stderr.readline()
    assert b"reload" in line
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
