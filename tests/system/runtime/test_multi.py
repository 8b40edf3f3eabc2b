"""A stack in many processes: real children, real signals, real sockets."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from micro.clock import SystemClock
from micro.errors import MicroError
from micro.runtime.multi.forks import LINUX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 60.0
LOOK = 0.01
CLOCK = SystemClock()
PAUSE = threading.Event()
"""Never set: waiting for it passes a moment between two looks at what can't be waited for."""
pytestmark = pytest.mark.crash

APP = """
import asyncio, json, os

async def deaf():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

async def app(scope, receive, send):
    assert scope["type"] == "http"  # it knows no lifespan
    if scope["path"].endswith("/slow"):
        open("begun", "w").close()
        await asyncio.sleep(0.3)
    if scope["path"].endswith("/held"):
        open("begun", "w").close()
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    if scope["path"].endswith("/stuck"):
        import time
        open("begun", "w").close()
        time.sleep(600)
    if scope["path"].endswith("/deaf"):
        global task
        task = asyncio.create_task(deaf(), name="the app's own")
    body = json.dumps({"pid": os.getpid(), "fds": len(os.listdir("/proc/self/fd"))}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""
TOML = """
[gateway]
port = 0
rate_limit = "off"
[services.shop]
app = "shop:app"
routes = ["/shop"]
port = 0
[services.cart]
app = "cart:app"
routes = ["/cart"]
port = 0
depends = ["shop"]
"""


@pytest.fixture
def multi(
    tmp_path: Path, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """`multi("shop=2", toml=…, shop=…)` runs the stack; at the end none of its processes is left."""
    (tmp_path / "micro.toml").write_text(TOML)
    for name in ("shop", "cart"):
        (tmp_path / f"{name}.py").write_text(APP)
    stacks: list[Any] = []

    def run(*args: str, **env: str) -> Any:
        here = Path(__file__)
        program = here.with_name("launch_multi.py")
        stacks.append(start(*args, program=program, PYTHONPATH=str(here.parent), **env))
        return stacks[-1]

    monkeypatch.chdir(tmp_path)
    yield run
    for stack in stacks:
        stack.process.kill()
        stack.process.wait()
    until(lambda: not processes(tmp_path), "every process of the stack has ended")


def processes(folder: Path) -> list[psutil.Process]:
    """Whatever runs in the stack's folder."""
    found = []
    for each in psutil.process_iter():
        try:
            words = " ".join(each.cmdline())
            if (
                each.pid != os.getpid()
                and each.status() != psutil.STATUS_ZOMBIE
                and (str(folder) in words or ("micro.runtime." in words and each.cwd() == str(folder)))
            ):
                found.append(each)
        except psutil.Error:
            continue
    return found


def until(seen: Callable[[], Any], what: str) -> Any:
    end = CLOCK.monotonic() + LIMIT
    while CLOCK.monotonic() < end:
        if answer := seen():
            return answer
        PAUSE.wait(LOOK)
    raise AssertionError(f"not in time: {what}")


def rows(stack: Any, service: str) -> list[dict[str, Any]]:
    return [row for row in stack.ask("ps")[1]["items"] if row["service"] == service]


class Load:
    """Asks for one path again and again, a connection each, until it is told to stop; counts what came."""

    def __init__(self, address: str, path: str) -> None:
        self.answers: list[int] = []
        self.failures: list[str] = []
        self._address, self._path = address, path
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        connected = http.client.HTTPConnection(self._address, timeout=LIMIT)
        while not self._over.is_set():
            try:
                connected.request("GET", self._path)
                answer = connected.getresponse()
                answer.read()
                self.answers.append(answer.status)
                if answer.status != 200:
                    self.failures.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connected.close()
        connected.close()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT)


@pytest.fixture
def load() -> Iterator[Callable[..., Load]]:
    loads: list[Load] = []

    def begin(address: str, path: str) -> Load:
        loads.append(Load(address, path))
        return loads[-1]

    yield begin
    for each in loads:
        each.stop()


def test_each_instance_is_a_process_and_all_of_them_answer_on_the_services_port(multi: Any) -> None:
    stack = multi("shop=2").until_ready()
    shops = rows(stack, "shop")
    assert [row["instance"] for row in shops] == ["shop-1", "shop-2"]
    assert {row["state"] for row in stack.ask("ps")[1]["items"]} == {"healthy"}
    assert len({row["pid"] for row in stack.ask("ps")[1]["items"]} | {stack.process.pid}) == 5
    assert all(row["port"] and row["memory"] and row["cpu"] is not None for row in shops)
    assert stack.get("/cart")[0] == 200, "by the gateway"
    assert stack.get("/shop", stack.service("shop"))[0] == 200, "on the port that the replicas share"
    for row in shops:
        assert f'"pid": {row["pid"]}' in stack.get("/x", f"127.0.0.1:{row['port']}")[1], "on its own port"
    assert stack.ask("health")[1]["status"] == "healthy"
    assert {route["service"] for route in stack.ask("routes")[0] or stack.ask("routes")[1]["items"]} == {
        "shop",
        "cart",
    }
    assert stack.stop() == 0


def test_a_child_listens_on_its_services_port_and_its_own_and_on_nobody_elses(multi: Any) -> None:
    stack = multi().until_ready()
    address = stack.service("shop")
    child = psutil.Process(rows(stack, "shop")[0]["pid"])
    listening = {each.laddr.port for each in child.net_connections() if each.status == "LISTEN"}
    assert int(address.rpartition(":")[2]) in listening
    assert len(listening) == 2, "the service's port and its own: no other service's, not the gateway's"


def test_one_of_two_that_is_killed_under_requests_is_back_by_itself(multi: Any, load: Any) -> None:
    stack = multi("shop=2").until_ready()
    asked = load(stack.gateway, "/shop")
    until(lambda: len(asked.answers) > 50, "requests are answered")
    first, other = rows(stack, "shop")
    os.kill(first["pid"], signal.SIGKILL)

    def is_back() -> bool:
        (row,) = [each for each in rows(stack, "shop") if each["instance"] == first["instance"]]
        return row["state"] == "healthy" and row["restarts"] == 1 and row["pid"] != first["pid"]

    until(is_back, "the instance is back")
    asked.stop()
    assert not asked.failures, "an idempotent request goes to the other one"
    assert rows(stack, "shop")[1]["pid"] == other["pid"]
    assert stack.stop() == 0


@pytest.mark.parametrize("service", ["shop", "gateway"])
def test_a_rolling_restart_loses_no_request_and_replaces_every_process(
    multi: Any, load: Any, service: str
) -> None:
    stack = multi("shop=2").until_ready()
    before = {row["pid"] for row in rows(stack, service)}
    asked = load(stack.gateway, "/shop")
    until(lambda: len(asked.answers) > 50, "requests are answered")
    answer = stack.ask("restart", service=service)[1]
    count = len(asked.answers)
    until(lambda: len(asked.answers) > count + 50, "requests are answered still")
    asked.stop()
    assert not asked.failures
    after = rows(stack, service)
    assert [row["instance"] for row in after] == answer["instances"]
    assert len(after) == len(before)
    assert not before & {row["pid"] for row in after}
    assert not any(psutil.pid_exists(pid) for pid in before), "ended, and reaped"
    assert stack.stop() == 0


def test_scaling_starts_more_and_drains_those_that_are_too_many(multi: Any, load: Any) -> None:
    stack = multi().until_ready()
    asked = load(stack.gateway, "/shop")
    assert stack.ask("scale", service="shop", count=3)[1]["instances"] == ["shop-1", "shop-2", "shop-3"]
    pids = [row["pid"] for row in rows(stack, "shop")]
    assert stack.ask("scale", service="shop", count=1)[1]["instances"] == ["shop-1"]
    asked.stop()
    assert not asked.failures
    assert psutil.pid_exists(pids[0])
    assert not any(psutil.pid_exists(pid) for pid in pids[1:])


def test_when_the_supervisor_is_killed_its_children_finish_their_requests_and_end(
    multi: Any, tmp_path: Path
) -> None:
    stack = multi("shop=2").until_ready()
    port = int(stack.service("shop").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connected:
        connected.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until((tmp_path / "begun").exists, "the request is in hand")
        stack.process.kill()
        assert connected.recv(64).startswith(b"HTTP/1.1 200"), "it was finished"
    until(lambda: not processes(tmp_path), "nothing is left of the stack")


def fork_server(stack: Any) -> psutil.Process:
    """Waits for the one there is: children come and go meanwhile."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found.clear()
        for each in psutil.Process(stack.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if "micro.runtime.multi.forkserver" in each.cmdline():
                    found.append(each)
        return len(found) == 1

    until(there, "there is one fork server")
    return found[0]


FORKED = pytest.mark.skipif(not LINUX, reason="elsewhere, there is no fork server")


@FORKED
def test_every_process_comes_from_the_fork_server_and_they_do_without_it(multi: Any, load: Any) -> None:
    stack = multi("shop=2").until_ready()
    server = fork_server(stack)
    before = {row["pid"] for row in stack.ask("ps")[1]["items"]}
    assert before <= {each.pid for each in server.children(recursive=True)}
    asked = load(stack.gateway, "/shop")
    server.kill()
    stack.ask("restart", service="shop")
    until(lambda: fork_server(stack).pid != server.pid, "there is another fork server")
    stack.ask("restart", service="gateway")
    asked.stop()
    assert not asked.failures
    assert not before & {row["pid"] for row in rows(stack, "shop") + rows(stack, "gateway")}
    assert stack.stop() == 0


@FORKED
@pytest.mark.parametrize("order", [["supervisor"], ["supervisor", "server"], ["server", "supervisor"]])
def test_whoever_is_killed_in_whatever_order_nothing_is_left_not_even_what_hangs(
    multi: Any, tmp_path: Path, order: list[str]
) -> None:
    stack = multi("shop=2", KILL_AFTER="0.5").until_ready()
    port = int(stack.service("shop").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connected:
        connected.sendall(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until((tmp_path / "begun").exists, "it is stuck")
        victims = {"supervisor": psutil.Process(stack.process.pid), "server": fork_server(stack)}
        for name in order:
            victims[name].kill()
        stack.wait()
        until(lambda: not processes(tmp_path), "nothing is left of the stack")


@pytest.mark.parametrize("victims", ["supervisor", "both"])
def test_killed_while_it_starts_it_leaves_nothing(multi: Any, tmp_path: Path, victims: str) -> None:
    (tmp_path / "cart.py").write_text(f"open('loading', 'w').close()\nimport time\ntime.sleep(600)\n{APP}")
    stack = multi(KILL_AFTER="0.5")
    until((tmp_path / "loading").exists, "it is being loaded")
    if victims == "both" and LINUX:
        fork_server(stack).kill()
    stack.process.kill()
    stack.wait()
    until(lambda: not processes(tmp_path), "nothing is left of the stack")


def test_an_instance_that_stands_still_holds_up_neither_a_restart_nor_the_end(
    multi: Any, tmp_path: Path
) -> None:
    stack = multi("shop=2", KILL_AFTER="0.5").until_ready()
    first, other = rows(stack, "shop")
    os.kill(first["pid"], signal.SIGSTOP)
    stack.ask("restart", service="shop")
    assert not {first["pid"], other["pid"]} & {row["pid"] for row in rows(stack, "shop")}
    os.kill(rows(stack, "shop")[0]["pid"], signal.SIGSTOP)
    assert stack.stop() == 0
    assert not processes(tmp_path)


def test_the_next_start_waits_for_what_a_killed_stack_left(multi: Any, tmp_path: Path) -> None:
    stack = multi().until_ready()
    port = int(stack.service("shop").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connected:
        connected.sendall(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until((tmp_path / "begun").exists, "the request is in hand")
        stack.process.kill()
        stack.wait()
        again = multi()
        assert "a killed stack left processes" in again.until("notice")
        (tmp_path / "go").touch()
        assert connected.recv(64).startswith(b"HTTP/1.1 200"), "it was finished"
        again.until_ready()
    assert again.get("/shop")[0] == 200
    assert again.stop() == 0


def test_a_crash_loop_is_called_by_its_name_and_the_rest_goes_on(multi: Any, tmp_path: Path) -> None:
    stack = multi().until_ready()
    (tmp_path / "cart.py").write_text("raise RuntimeError('no more carts')")
    os.kill(rows(stack, "cart")[0]["pid"], signal.SIGKILL)
    until(lambda: rows(stack, "cart")[0]["state"] == "crash-loop", "it is a crash loop")
    assert stack.ask("health")[1]["status"] == "degraded"
    assert stack.get("/shop")[0] == 200
    (tmp_path / "cart.py").write_text(APP)
    stack.ask("restart", service="cart")
    assert rows(stack, "cart")[0]["state"] == "healthy", "its code was mended"
    assert stack.get("/cart")[0] == 200
    assert stack.stop() == 0
    assert "no more carts" in stack.errors


def test_a_successor_that_does_not_start_leaves_those_that_run(multi: Any, tmp_path: Path) -> None:
    stack = multi().until_ready()
    (tmp_path / "shop.py").write_text("raise RuntimeError('half an edit')")
    with pytest.raises(MicroError, match=r"shop-2 did not start, and the others go on.*half an edit"):
        stack.ask("restart", service="shop")
    assert [row["instance"] for row in rows(stack, "shop")] == ["shop-1"]
    assert stack.get("/shop")[0] == 200


def test_a_service_that_cannot_be_loaded_ends_the_start_in_one_sentence(multi: Any, tmp_path: Path) -> None:
    (tmp_path / "cart.py").write_text("import nowhere_to_be_found")
    stack = multi()
    assert "nowhere_to_be_found" in stack.until("error")
    assert stack.wait() == 2
    assert not processes(tmp_path)


def test_a_port_that_is_taken_ends_the_start_before_anything_runs(multi: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "micro.toml").write_text(
            TOML.replace('routes = ["/cart"]\nport = 0', f'routes = ["/cart"]\nport = {port}')
        )
        stack = multi()
        assert f"127.0.0.1:{port} is in use" in stack.until("error")
        assert stack.wait() == 2


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_during_the_start_leaves_nothing(multi: Any, tmp_path: Path, times: int) -> None:
    (tmp_path / "cart.py").write_text(f"open('loading', 'w').close()\nimport time\ntime.sleep(600)\n{APP}")
    stack = multi()
    until((tmp_path / "loading").exists, "it is being loaded")
    for _ in range(times):
        stack.send(signal.SIGINT)
    stack.wait()
    until(lambda: not processes(tmp_path), "nothing is left")


def test_a_second_interrupt_does_not_wait_for_what_is_in_hand(multi: Any, tmp_path: Path) -> None:
    stack = multi(GRACE="600", KILL_AFTER="600").until_ready()
    with socket.create_connection(
        ("127.0.0.1", int(stack.service("shop").rpartition(":")[2])), LIMIT
    ) as connected:
        connected.sendall(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until((tmp_path / "begun").exists, "it is stuck")
        stack.send(signal.SIGINT)
        stack.until("stopping")
        stack.send(signal.SIGINT)
        assert stack.wait() == 0
    assert not processes(tmp_path)


def test_a_task_that_swallows_its_cancellation_does_not_keep_a_child(multi: Any, tmp_path: Path) -> None:
    stack = multi().until_ready()
    assert stack.get("/shop/deaf")[0] == 200  # and now its task waits
    assert stack.stop() == 0
    assert "left behind, as they don't end: the app's own (" in stack.errors
    assert "was killed" not in stack.errors
    assert not processes(tmp_path)


def test_a_child_that_writes_without_end_holds_up_nobody_but_itself(multi: Any, tmp_path: Path) -> None:
    chatter = "import threading\ndef talk():\n    while True: print('x' * 1000)\nthreading.Thread(target=talk, daemon=True).start()\n"
    (tmp_path / "shop.py").write_text(chatter + APP)
    stack = multi().until_ready()
    for _ in range(5):
        assert stack.get("/shop")[0] == 200, "its own requests are answered: it is a thread that waits"
        assert stack.get("/cart")[0] == 200
    assert stack.ask("health")[1]["status"] == "healthy"
    assert stack.stop() == 0


def test_logs_of_every_instance_are_read_together(multi: Any, tmp_path: Path, capsys: Any) -> None:
    from micro.cli import run

    (tmp_path / "shop.py").write_text(
        f"import logging\nlogging.getLogger('shop').warning('loaded')\nprint('said')\n{APP}"
    )
    stack = multi("shop=2").until_ready()
    assert stack.stop() == 0
    assert run(["-C", str(tmp_path), "logs", "shop", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count('"loaded"') == 2
    assert out.count('"said"') == 2
    assert '"shop-2"' in out


def test_only_what_is_named_runs_with_what_it_depends_on_or_without(multi: Any) -> None:
    stack = multi("cart").until_ready()
    assert {row["service"] for row in stack.ask("ps")[1]["items"]} == {"gateway", "shop", "cart"}
    assert stack.stop() == 0
    alone = multi("cart", "--no-deps").until_ready()
    assert {row["service"] for row in alone.ask("ps")[1]["items"]} == {"gateway", "cart"}
    assert alone.get("/shop")[0] == 404
    assert alone.stop() == 0


def test_an_instance_can_run_without_a_gateway_and_a_public_port(multi: Any) -> None:
    stack = multi("cart", "--no-deps", "--no-gateway").until_ready()
    (row,) = stack.ask("ps")[1]["items"]
    assert (row["instance"], row["url"]) == ("cart-1", None)
    assert stack.report["gateway"] == ""
    assert stack.service("cart") == f"127.0.0.1:{row['port']}"
    assert stack.get("/cart", stack.service("cart"))[0] == 200
    assert stack.ask("health")[1]["status"] == "healthy"
    with pytest.raises(MicroError, match="no gateway worker is ready"):
        stack.ask("routes")
    assert stack.stop() == 0


def test_a_hangup_has_every_gateway_worker_read_the_settings_again(multi: Any, tmp_path: Path) -> None:
    stack = multi().until_ready()
    stack.ask("scale", service="gateway", count=2)
    file = tmp_path / "micro.toml"
    route = '[[gateway.routes]]\npath = "/new"\nservice = "shop"\n'
    file.write_text(file.read_text() + route)
    stack.send(signal.SIGHUP)
    stack.until("notice", "the gateway's settings are in force")
    assert [stack.get("/new")[0] for _ in range(6)] == [200] * 6
    file.write_text("[gateway]\nport = 'none'")
    stack.send(signal.SIGHUP)
    stack.until("notice", "the settings stay as they were")
    assert stack.get("/new")[0] == 200
    assert stack.stop() == 0


PROGRAM = """
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"pid": os.getpid()}).encode())

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
WITH_PROGRAM = (
    TOML
    + """
[services.prices]
command = "python3 prices.py"
routes = ["/prices"]
port = 0
"""
)


def test_a_program_is_run_scaled_replaced_and_started_again_like_a_service(
    multi: Any, load: Any, tmp_path: Path
) -> None:
    (tmp_path / "micro.toml").write_text(WITH_PROGRAM)
    (tmp_path / "prices.py").write_text(PROGRAM)
    stack = multi("prices=2").until_ready()
    first, other = rows(stack, "prices")
    pids = {first["pid"], other["pid"]}
    for row in (first, other):
        assert stack.get("/prices", f"127.0.0.1:{row['port']}")[1] == f'{{"pid": {row["pid"]}}}', (
            "its own pid"
        )
    assert stack.get("/prices", stack.service("prices"))[0] == 200, "on the port that they share"

    asked = load(stack.gateway, "/prices")
    until(lambda: len(asked.answers) > 20, "requests are answered")
    os.kill(first["pid"], signal.SIGKILL)
    until(
        lambda: (
            {row["state"] for row in rows(stack, "prices")} == {"healthy"}
            and first["pid"] not in {row["pid"] for row in rows(stack, "prices")}
        ),
        "it is back",
    )
    assert [row["restarts"] for row in rows(stack, "prices")] == [1, 0]
    stack.ask("restart", service="prices")
    assert len(stack.ask("scale", service="prices", count=3)[1]["instances"]) == 3
    asked.stop()
    assert not asked.failures
    assert not pids & {row["pid"] for row in rows(stack, "prices")}
    assert stack.stop() == 0
    assert "prices-1 ended by SIGKILL; it starts again" in stack.errors


def test_no_program_outlives_a_supervisor_that_was_killed(multi: Any, tmp_path: Path) -> None:
    (tmp_path / "micro.toml").write_text(WITH_PROGRAM)
    (tmp_path / "prices.py").write_text(PROGRAM)
    stack = multi().until_ready()
    pid = rows(stack, "prices")[0]["pid"]
    stack.process.kill()
    until(lambda: not psutil.pid_exists(pid), "the program has ended")
