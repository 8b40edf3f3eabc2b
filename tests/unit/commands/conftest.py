"""A folder with a stack in it that answers as a test says, and the command line in this process or in one of its own."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from micro.cli import run


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class ScriptedStack:
    """Listens on a real control socket; `answers` holds, per verb, the messages to send."""

    def __init__(self, home: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mc"))
        self.home = home
        self.answers: dict[str, list[dict]] = {}
        self.asked: list[tuple[str, dict]] = []
        self.record = {
            "pid": os.getpid(),
            "socket": str(self._folder / "s"),
            "stack": "demo",
            "profile": "dev",
            "gateway": "http://127.0.0.1:1",
            "services": {"task": "http://127.0.0.1:2", "user": "http://127.0.0.1:3"},
        }
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.record["socket"])
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        (home / ".micro").mkdir(mode=0o700, exist_ok=True)
        self.publish()

    def publish(self) -> None:
        (self.home / ".micro" / "run.json").write_text(json.dumps(self.record))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        shutil.rmtree(self._folder)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A client that hangs up in the middle of an answer is what some tests are about.
            with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as lines:
                line = lines.readline()
                if line:
                    self._answer(json.loads(line), connection)

    def _answer(self, request: dict, connection: socket.socket) -> None:
        self.asked.append((request["verb"], request["args"]))
        messages = self.answers.get(
            request["verb"], [{"error": {"kind": "usage", "message": "not scripted"}}]
        )
        for message in messages:
            if message == "hold":
                connection.recv(1)  # until the client hangs up
            else:
                connection.sendall(json.dumps(message).encode() + b"\n")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def stack(home):
    stack = ScriptedStack(home)
    yield stack
    stack.close()


@pytest.fixture
def micro(home, capsys):
    """The command line in this process."""

    def invoke(*arguments: str) -> Outcome:
        code = run(arguments)
        return Outcome(code, *capsys.readouterr())

    return invoke


@pytest.fixture
def micro_process(home):
    """The command line in a process of its own, as `subprocess.Popen` starts it."""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}

    def invoke(*arguments: str, **options) -> subprocess.Popen:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environ, **options}
        return subprocess.Popen([sys.executable, "-m", "micro", *arguments], **options)

    return invoke


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked; the path /STATUS with that status."""

    def _echo(self) -> None:
        size = int(self.headers.get("content-length", 0))
        text = self.rfile.read(size).decode(errors="replace")
        status = int(self.path[1:4]) if self.path[1:4].isdecimal() else 200
        fields = {name.lower(): value for name, value in self.headers.items()}
        asked = {"method": self.command, "path": self.path, "headers": fields, "body": text}
        body = b"plain \xff" if self.path == "/plain" else json.dumps(asked).encode()
        self.send_response(status)
        self.send_header("content-type", "text/plain" if self.path == "/plain" else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _echo  # noqa: N815 - the names that http.server calls

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def echo():
    """The base URL of a real HTTP server that answers with what it was asked."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
