"""Stacks in processes of their own, and what the tests see of them from outside."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from micro.clock import SystemClock
from micro.runtime.client import find_stack
from micro.runtime.keys import StackKeys
from micro.runtime.state import read_run

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # the tests, and the stacks that they run, import what lies beside them
MICRO = str(Path(sys.executable).with_name("micro"))
LIMIT = 60.0
"""Seconds after which a test stops waiting; nothing takes anywhere near as long."""
LOOK = 0.02
"""Seconds between two looks at what can't be waited for otherwise."""


BUILT_IN = """
[stack]
builtin = true
[gateway]
port = 0
rate_limit = "off"
[services.user]
port = 0
[services.task]
port = 0
[services.notification]
port = 0
"""
"""The built-in stack on free ports, and no limit on how often a test may ask."""

ANYTHING = """
[services.anything]
app = "anything:app"
routes = ["/echo", "/early", "/stream", "/gone"]
[[gateway.routes]]
path = "/limited"
service = "anything"
methods = ["GET"]
rate_limit = "3/minute"
[[gateway.routes]]
path = "/slow"
service = "anything"
timeout = "200ms"
"""


def environment(changes):
    """This process's, without what would change a stack."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MICRO_")}
    return {**kept, **changes}


class Stack:
    """A process that runs the stack of `folder`. A subclass knows how it was started."""

    pid = 0

    def __init__(self, folder):
        self.folder = folder
        self.report = {}

    def line(self):
        """The next line that it writes on stdout; nothing when it has ended."""
        raise NotImplementedError

    def exit_code(self, limit):
        """The code with which it ended; raises `TimeoutError` when it goes on for `limit` seconds."""
        raise NotImplementedError

    @property
    def errors(self):
        """What it has written on stderr."""
        raise NotImplementedError

    def starts(self):
        """Wait for the line that says where everything is; False when it died before."""
        self.report = json.loads(self.line() or "{}")
        return bool(self.report)

    def started(self):
        """Wait until it answers."""
        assert self.starts(), f"it ended before it was ready: {self.wait()}, {self.errors}"
        return self

    @property
    def gateway(self):
        return self.report["gateway"].removeprefix("http://")

    def service(self, name):
        [url] = [each["url"] for each in self.report["services"] if each["name"] == name]
        return url.removeprefix("http://")

    def ask(self, verb, **args):
        """What the control socket answers: the items, whether they come one by one or at the end, and the end."""
        items = []
        end = find_stack(self.folder / ".micro").ask(verb, args, each=items.append)
        return items or end.get("items", []), end

    def token(self, subject, role="user"):
        """What `micro token` prints."""
        keys = StackKeys(self.folder / ".micro" / "keys", clock=SystemClock())
        return keys.token(subject, role=role, ttl=3600)

    def until(self, condition):
        """What `condition()` answers, as soon as it is true."""
        for _ in range(int(LIMIT / LOOK)):
            if found := condition():
                return found
            with suppress(TimeoutError):  # a pause that ends with the process
                raise AssertionError(f"it ended with {self.exit_code(LOOK)}: {self.errors}")
        raise AssertionError(f"it did not happen in time: {self.errors}")

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def stop(self):
        """End it as Ctrl-C does; all goes well."""
        os.kill(self.pid, signal.SIGTERM)
        assert self.wait() == 0, self.errors

    def wait(self):
        return self.exit_code(LIMIT)


class Started(Stack):
    """A program started as a user does."""

    def __init__(self, folder, command, environ):
        super().__init__(folder)
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self._lines = queue.Queue()
        self._errors = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_errors(self):
        self._errors.extend(self.process.stderr)

    @property
    def errors(self):
        return "".join(self._errors)

    def line(self):
        return self._lines.get(timeout=LIMIT)

    def end(self):
        """Leave nothing running."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def exit_code(self, limit):
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        for reader in self._readers:
            reader.join(LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        return code


class Forked(Stack):
    """A child of the process of `ledger.__main__`, whose lines come through that one."""

    def __init__(self, folder, lines):
        super().__init__(folder)
        self._lines = lines
        self._code = None
        self.pid = self._next(LIMIT)["pid"]

    @property
    def errors(self):
        return (self.folder / "stderr.log").read_text()

    def line(self):
        line = self._next(LIMIT)
        if "exit" not in line:
            return json.dumps(line)
        self._code = line["exit"]
        return ""

    def exit_code(self, limit):
        while self._code is None:
            self._code = self._next(limit).get("exit")
        return self._code

    def _next(self, limit):
        try:
            return self._lines.get(timeout=limit)
        except queue.Empty:
            raise TimeoutError from None


class Forge:
    """Starts one stack after the other by forking a process that has loaded all code."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, HERE / "ledger"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment({"PYTHONPATH": str(HERE)}),
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._last = None

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def start(self, folder, crash=None, **environ):
        """A stack in `folder`; `crash` is a point and the number of the visit to it."""
        self.finish()
        order = {"folder": str(folder), "crash": crash, "environ": environ}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        self._last = Forked(folder, self._lines)
        return self._last

    def finish(self):
        """Kill what a test left running: there is room for one."""
        if self._last is not None:
            try:
                self._last.exit_code(0)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(self._last.pid, signal.SIGKILL)
                self._last.wait()

    def close(self):
        try:
            self.finish()
        finally:
            self._process.stdin.close()
            code = self._process.wait(LIMIT)
            self._reader.join(LIMIT)
            self._process.stdout.close()
        assert code == 0


@pytest.fixture(scope="session")
def forge():
    """Made when the first test wants it."""
    made = Forge()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path, forge):
    """The stack of `ledger.services` in `tmp_path`, with a client and its files."""
    from ledger.world import World

    yield World(tmp_path, forge)
    forge.finish()
    if (left := read_run(tmp_path / ".micro")) is not None:
        Path(left.socket).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built-in services and `anything`, running; for tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "micro.toml").write_text(BUILT_IN + ANYTHING)
    stack = Started(folder, [MICRO, "up", "--no-reload", "--json"], {"PYTHONPATH": str(HERE)})
    try:
        yield stack.started()
        with urllib.request.urlopen(f"http://{stack.gateway}/metrics") as answer:
            failed = [line for line in answer.read().decode().splitlines() if 'status="500"' in line]
        stack.stop()
        assert not failed, (failed, stack.errors)
        assert "Traceback" not in stack.errors, stack.errors[stack.errors.index("Traceback") - 300 :]
    finally:
        stack.end()


@pytest.fixture
def built_in(tmp_path):
    """The built-in stack, described in `tmp_path`."""
    (tmp_path / "micro.toml").write_text(BUILT_IN)


@pytest.fixture
def run(tmp_path):
    """`run(*command, **environ)` starts a process in `tmp_path`; what still runs at the end is killed."""
    processes = []

    def start(*command, **environ):
        processes.append(Started(tmp_path, command, environ))
        return processes[-1]

    yield start
    for each in processes:
        each.end()


@pytest.fixture
def micro(tmp_path):
    """`micro(*arguments)` runs the command in `tmp_path` to its end."""

    def start(*arguments):
        return subprocess.run(
            [MICRO, *arguments],
            check=False,
            cwd=tmp_path,
            env=environment({}),
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    return start


@pytest.fixture
def up(run):
    """`up()` starts the stack of `tmp_path/micro.toml` as `micro up` does, and returns once it is ready."""

    def start(*options, **environ):
        return run(MICRO, "up", "--no-reload", "--json", *options, **environ).started()

    return start
