"""Members that are no Python code of the stack: a program that micro runs, and servers somewhere on the network."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVER = """
import json, os, signal, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/tool/die":
            os._exit(3)
        if self.path == "/openapi.json":
            answer = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/tool/x": {"get": {}}}}
        else:
            answer = {"path": self.path, "headers": dict(self.headers), "env": dict(os.environ), "pid": os.getpid()}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: (print("it ends", flush=True), os._exit(0)))
if "WITNESS" in os.environ:
    witness = open(os.environ["WITNESS"], "w")
    os.set_inheritable(witness.fileno(), True)
    subprocess.Popen(["sleep", "60"], close_fds=False)
    print("here", file=witness, flush=True)
server = ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler)
print("it listens")
print("as one should", file=sys.stderr)
server.serve_forever()
"""
TOOL = """
rate_limit = "off"
[services.tool]
command = "python3 server.py --flag 'two words'"
routes = ["/tool"]
env = { COLOUR = "red", WITNESS = "${WITNESS:-/dev/null}" }
"""
ASKER = """
import json

async def app(scope, receive, send):
    micro = scope["state"]["micro"]
    if scope["type"] != "http":
        raise ValueError("http only")
    target = scope["path"].rpartition("/")[2]
    try:
        reply = await micro.call(target, "GET", f"/{target}/asked", timeout=60)
        body = reply.body
    except Exception as error:
        body = json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
WITH_ASKER = """
[services.asker]
app = "asker:app"
routes = ["/ask"]
"""


@contextmanager
def elsewhere() -> Iterator[tuple[str, list[Any]]]:
    """A server that is nobody's: its URL, and the heads of the requests that it got."""
    heads: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            heads.append((self.path, dict(self.headers)))
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"away")

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heads
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def tool(write: Callable[..., None], start: Callable[..., Any]) -> Callable[..., Any]:
    """`tool(toml, **environ)` starts a stack with a program in it."""

    def run(toml: str = "", **environ: str) -> Any:
        write(TOOL + WITH_ASKER + toml, server=SERVER, asker=ASKER)
        return start("--no-reload", **environ).until_ready()

    return run


def rows(stack: Any) -> dict[str, dict[str, Any]]:
    return {item["instance"]: item for item in stack.ask("ps")[1]["items"]}


def events(stack: Any, service: str) -> list[tuple[str, dict[str, Any]]]:
    items, _ = stack.ask("events.list", topic="system.events", key=service)
    return [(item["event"]["type"], item["event"]["data"]) for item in items]


def until(stack: Any, condition: Callable[[], Any]) -> Any:
    """What `condition()` answers, as soon as it is true; between two looks, one waits for the process."""
    for _ in range(1000):
        if found := condition():
            return found
        try:
            stack.process.wait(0.02)
        except Exception:  # noqa: BLE001, S112 - it runs on, as it should
            continue
        break
    raise AssertionError(f"it did not happen in time: {stack.errors}")


def test_a_program_gets_its_place_and_its_requests(tool: Any, tmp_path: Path) -> None:
    stack = tool()
    status, body = stack.get("/tool/a%20b?x=1")
    seen = json.loads(body)
    port = stack.service("tool").rpartition(":")[2]
    assert status == 200
    assert seen["path"] == "/tool/a%20b?x=1"
    assert seen["headers"]["host"] == f"127.0.0.1:{port}"
    assert "traceparent" in {name.lower() for name in seen["headers"]}
    wanted = {
        "HOST": "127.0.0.1",
        "PORT": port,
        "COLOUR": "red",
        "MICRO_SERVICE": "tool",
        "MICRO_STACK": "micro",
        "MICRO_PROFILE": "dev",
        "MICRO_GATEWAY_URL": stack.report["gateway"],
    }
    assert wanted.items() <= seen["env"].items()
    assert json.loads(stack.get("/straight", stack.service("tool"))[1])["path"] == "/straight", "its own port"
    process = psutil.Process(seen["pid"])
    assert process.cmdline()[1:] == ["server.py", "--flag", "two words"]
    assert process.cwd() == str(tmp_path)
    assert stack.stop() == 0
    assert not process.is_running()


def test_it_stands_in_ps_health_routes_documents_events_and_logs_like_the_others(
    tool: Any, tmp_path: Path
) -> None:
    stack = tool()
    assert [each["health"] for each in stack.report["services"]] == ["healthy"] * 2
    row = rows(stack)["tool-1"]
    assert (row["service"], row["state"], row["restarts"]) == ("tool", "healthy", 0)
    assert row["pid"] == json.loads(stack.get("/tool")[1])["pid"]
    assert row["uptime"] > 0
    assert row["memory"] is None or row["memory"] > 1_000_000
    assert json.loads(stack.get("/health")[1])["services"] == {"asker": "healthy", "tool": "healthy"}
    document = json.loads(stack.get("/openapi.json")[1])
    assert document["paths"]["/tool/x"]["get"]["tags"] == ["tool"]
    lines = [
        json.loads(line) for line in (tmp_path / ".micro" / "logs" / "tool.log").read_text().splitlines()
    ]
    assert [line["message"] for line in lines][:2] == ["it listens", "as one should"]
    assert {line["service"] for line in lines} == {"tool"}
    until(stack, lambda: len(events(stack, "tool")) > 1)
    assert events(stack, "tool") == [
        ("InstanceStartedEvent", {"service": "tool", "instance": "tool-1", "pid": row["pid"]}),
        ("InstanceHealthyEvent", {"service": "tool", "instance": "tool-1"}),
    ]
    assert stack.stop() == 0


def test_services_call_it_with_their_context_and_token(tool: Any) -> None:
    stack = tool()
    seen = json.loads(stack.get("/ask/tool")[1])
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert seen["path"] == "/tool/asked"
    assert headers["host"] == stack.service("tool")
    assert headers["authorization"].startswith("Bearer ")
    assert {"x-request-id", "x-correlation-id", "traceparent"} <= headers.keys()
    assert stack.stop() == 0


def test_one_that_dies_is_started_again_and_found_again(tool: Any) -> None:
    stack = tool()
    first = rows(stack)["tool-1"]["pid"]
    with pytest.raises(ConnectionError):
        stack.get("/tool/die", stack.service("tool"))

    def is_back() -> bool:
        row = rows(stack)["tool-1"]
        return row["restarts"] == 1 and row["pid"] not in {None, first} and stack.get("/tool")[0] == 200

    until(stack, is_back)
    kinds = [kind for kind, _ in events(stack, "tool")]
    assert kinds.count("InstanceStartedEvent") == 2
    assert kinds.count("InstanceStoppedEvent") == 1
    assert stack.stop() == 0
    assert "tool ended with code 3: as one should; it starts again in" in stack.errors


def test_one_that_dies_again_and_again_is_in_a_crash_loop(tool: Any, tmp_path: Path) -> None:
    stack = tool()
    (tmp_path / "server.py").write_text("raise SystemExit('no more paper')")
    os.kill(rows(stack)["tool-1"]["pid"], signal.SIGKILL)
    until(stack, lambda: rows(stack)["tool-1"]["state"] == "crash-loop")
    health = stack.ask("health")[1]
    assert health["status"] == "degraded"
    assert health["services"] == {"asker": "healthy", "tool": "crash-loop"}
    assert stack.stop() == 0
    assert "tool ended by SIGKILL" in stack.errors
    assert "tool ended with code 1: no more paper" in stack.errors


@pytest.mark.crash
def test_nothing_of_it_outlives_a_stack_that_is_killed(tool: Any, witness: Any) -> None:
    """Neither the program nor what it has started itself."""
    stack = tool(WITNESS=str(witness.path))
    assert witness.line() == "here"
    stack.send(signal.SIGKILL)
    assert stack.wait() == -signal.SIGKILL
    assert witness.ended()


def test_a_second_request_to_stop_kills_what_pays_no_heed(tool: Any, witness: Any) -> None:
    stack = tool(WITNESS=str(witness.path), STUBBORN="yes")
    assert witness.line() == "here"
    stack.send(signal.SIGTERM)
    stack.until("stopping")
    stack.send(signal.SIGTERM)
    assert stack.wait() == 0
    assert witness.ended()


def test_a_program_that_is_not_there_is_said_before_anything_starts(
    write: Any, start: Any, tmp_path: Path
) -> None:
    write('[services.asker]\napp = "asker:app"\n[services.tool]\ncommand = "no-such-tool x"\n', asker=ASKER)
    stack = start()
    assert stack.until("error") == (
        "micro.toml: services.tool.command: there is no program 'no-such-tool' to run; install it, or write its path"
    )
    assert stack.wait() == 2
    assert not (tmp_path / ".micro" / "logs" / "asker.log").exists()


def test_a_taken_port_is_said_before_anything_starts(write: Any, start: Any) -> None:
    with elsewhere() as (url, _):
        port = url.rpartition(":")[2]
        write(f'[services.tool]\ncommand = "python3 server.py"\nport = {port}\n', server=SERVER)
        stack = start()
        error = stack.until("error")
        assert error.startswith(f"tool: 127.0.0.1:{port} is in use; set another port under [services.tool]")
        assert stack.wait() == 2


def test_one_that_ends_during_the_start_ends_the_start(write: Any, start: Any) -> None:
    write("[services.tool]\ncommand = \"python3 -c 'raise SystemExit(5)'\"\n" + WITH_ASKER, asker=ASKER)
    stack = start()
    error = stack.until("error")
    assert error.startswith("tool: 'python3 -c 'raise SystemExit(5)'' ended with code 5")
    assert error.endswith("; it had not answered GET /health yet")
    assert stack.wait() == 2


ORDERED = """
[services.third]
command = "python3 server.py"
depends = ["second"]
[services.second]
app = "second:app"
depends = ["first"]
[services.first]
command = "python3 server.py"
"""
SECOND = """
import logging
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        reply = await scope["state"]["micro"].call("first", "GET", "/")
        logging.warning("it found first: %d", reply.status)
    raise ValueError("no more than that")
"""


def test_members_start_when_those_they_depend_on_are_ready_and_end_in_the_reverse_order(
    write: Any, start: Any, tmp_path: Path
) -> None:
    write(ORDERED, server=SERVER, second=SECOND)
    stack = start("--no-reload").until_ready()
    assert [each["name"] for each in stack.report["services"]] == ["first", "second", "third"]
    assert stack.stop() == 0
    said = [line.split(maxsplit=2)[2] for line in stack.errors.splitlines() if " it " in line]
    assert [" ".join(each.split()) for each in said] == [
        "first it listens",
        "second it found first: 200",
        "third it listens",
        "third it ends",
        "first it ends",
    ]


def test_a_url_is_a_member_like_any_other(write: Any, start: Any) -> None:
    with elsewhere() as (one, heads), elsewhere() as (two, more):
        toml = f'[services.far]\nurl = ["{one}", "{two}/base"]\nroutes = ["/far"]\n' + WITH_ASKER
        write(toml, asker=ASKER)
        stack = start("--no-reload").until_ready()
        assert {each["name"]: each["health"] for each in stack.report["services"]} == {
            "asker": "healthy",
            "far": "healthy",
        }
        assert [stack.get("/far/x")[1] for _ in range(4)] == ["away"] * 4
        assert [path for path, _ in heads if path != "/health"] == ["/far/x"] * 2
        assert [path for path, _ in more if path != "/base/health"] == ["/base/far/x"] * 2
        host = next(head for path, head in heads if path == "/far/x")["host"]
        assert host == one.removeprefix("http://")
        assert stack.get("/ask/far")[1] == "away"
        addresses = [one.removeprefix("http://"), f"{two.removeprefix('http://')}/base"]
        found = rows(stack)
        assert [(found[name]["url"], found[name]["state"], found[name]["pid"]) for name in addresses] == [
            (one, "healthy", None),
            (f"{two}/base", "healthy", None),
        ]
        assert f'instance="{addresses[0]}"' in stack.get("/metrics")[1]
        assert stack.service("far") == addresses[0]
        assert stack.stop() == 0


def test_a_url_that_nobody_answers_keeps_nothing_from_starting(write: Any, start: Any) -> None:
    write('[services.far]\nurl = "http://127.0.0.1:9"\nroutes = ["/far"]\n' + WITH_ASKER, asker=ASKER)
    stack = start("--no-reload").until_ready()
    assert stack.get("/far")[0] in {502, 503}
    error = json.loads(stack.get("/ask/far")[1])["error"]
    assert error.startswith("CallError: asker called far: GET /far/asked: no answer: ")
    until(stack, lambda: stack.ask("health")[1]["services"]["far"] == "unhealthy")
    assert json.loads(stack.get("/health")[1])["status"] == "degraded"
    assert stack.stop() == 0


def test_an_edit_of_its_files_does_not_reload_it_and_one_of_its_table_needs_a_restart(
    write: Any, start: Any, tmp_path: Path
) -> None:
    write(TOOL + WITH_ASKER, server=SERVER, asker=ASKER)
    stack = start().until_ready()
    pid = rows(stack)["tool-1"]["pid"]
    write(server=SERVER.replace("it listens", "it hears"), asker=ASKER + "\n")
    assert "reloaded asker" in stack.until("notice")
    write(TOOL.replace("red", "blue") + WITH_ASKER)
    assert stack.until("notice", "services.tool.env") == "restart needed: services.tool.env changed"
    assert rows(stack)["tool-1"]["pid"] == pid
    assert stack.stop() == 0
