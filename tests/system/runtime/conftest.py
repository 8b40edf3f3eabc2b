"""A stack in a process of its own, watched line by line."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from micro.runtime.client import find_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 60.0
"""Seconds after which a test stops waiting; nothing takes anywhere near as long."""
LAUNCH = Path(__file__).with_name("launch.py")


class Stack:
    """One process of `launch.py`, or of another program that says the same."""

    def __init__(
        self, folder: Path, *args: str, env: dict[str, str] | None = None, program: Path = LAUNCH
    ) -> None:
        self.folder = folder
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, program, folder, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.errors = ""
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()
        self.report: dict[str, Any] = {}
        self._connections: list[http.client.HTTPConnection] = []

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def until(self, kind: str, containing: str = "") -> Any:
        """The next line of that kind; fails when the process says nothing of it in time."""
        while True:
            try:
                line = self._lines.get(timeout=LIMIT)
            except queue.Empty:
                raise AssertionError(f"no {kind!r} with {containing!r} in time") from None
            assert line is not None, f"it ended without {kind!r}: {self.errors}"
            if kind in line and containing in str(line[kind]):
                return line[kind]

    def until_ready(self) -> Stack:
        self.report = self.until("ready")
        return self

    @property
    def gateway(self) -> str:
        return self.report["gateway"].removeprefix("http://")

    def service(self, name: str) -> str:
        [url] = [each["url"] for each in self.report["services"] if each["name"] == name]
        return url.removeprefix("http://")

    def get(self, path: str, address: str | None = None) -> tuple[int, str]:
        with connection(address or self.gateway) as connected:
            connected.request("GET", path)
            answer = connected.getresponse()
            return answer.status, answer.read().decode()

    def ask(self, verb: str, **args: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The items and the end of a verb, asked through the control socket."""
        items: list[dict[str, Any]] = []
        end = find_stack(self.folder / ".micro").ask(verb, args, each=items.append)
        return items, end

    def open(self, path: str, address: str | None = None) -> http.client.HTTPResponse:
        """An answer whose body is not read yet."""
        connected = http.client.HTTPConnection(address or self.gateway, timeout=LIMIT)
        self._connections.append(connected)
        connected.request("GET", path)
        return connected.getresponse()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        code = self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join(LIMIT)
        for connected in self._connections:
            connected.close()
        return code

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()


@contextmanager
def connection(address: str) -> Iterator[http.client.HTTPConnection]:
    connected = http.client.HTTPConnection(address, timeout=LIMIT)
    try:
        yield connected
    finally:
        connected.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """`start(…)` runs the stack described in `tmp_path`; whatever still runs at the end is killed."""
    stacks: list[Stack] = []

    def run(*args: str, program: Path = LAUNCH, **env: str) -> Stack:
        stacks.append(Stack(tmp_path, *args, env=env, program=program))
        return stacks[-1]

    yield run
    for stack in stacks:
        if stack.process.poll() is None:
            stack.process.kill()
        stack.wait()
        for stream in (stack.process.stdout, stack.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """`write(toml, name=source…)` describes a stack in `tmp_path`: `micro.toml` on free ports, and modules."""

    def write_files(toml: str = "", **modules: str) -> None:
        if toml:
            (tmp_path / "micro.toml").write_text(f"[gateway]\nport = 0\n{toml}")
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)

    return write_files


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A pipe that a service waits on until the test writes to it."""
    path = tmp_path / "release"
    os.mkfifo(path)
    return path
