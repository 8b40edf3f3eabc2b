"""Start and stop the programs that are measured."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

SERVICES = ("user", "task", "notification")


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_config(folder: Path, *, rate_limit: str = "100/minute") -> int:
    """The built-in stack on free ports; returns the gateway's."""
    port = free_port()
    lines = ["[stack]", "builtin = true", "[gateway]", f"port = {port}", f'rate_limit = "{rate_limit}"']
    for name in SERVICES:
        lines += [f"[services.{name}]", f"port = {free_port()}"]
    (folder / "micro.toml").write_text("\n".join(lines) + "\n")
    return port


def pin(process: subprocess.Popen | psutil.Process, core: int) -> None:
    """Keep a process on one core, where the system can."""
    with contextlib.suppress(AttributeError, OSError, psutil.Error):
        psutil.Process(process.pid).cpu_affinity([core])


def environment() -> dict[str, str]:
    """As installed by pip, both sides start from compiled modules; some environments forbid to keep those."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def running(command: list[str], url: str, *, cwd: Path | None = None):
    """Run `command` until the block ends; gives the process and the seconds until `url` first answered 200."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process, first_answer(url, process) - started
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_answer(url: str, process: subprocess.Popen, limit: float = 20.0) -> float:
    """The moment of the first 200, polled each millisecond without opening more than one connection at a time."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:
            if answer.status == 200:
                return time.perf_counter()
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode} before it answered")
        time.sleep(0.001)
    raise SystemExit(f"{process.args} did not answer {url} within {limit:.0f} s")


@contextlib.contextmanager
def stack(**config):
    """The built-in stack; gives the process, its folder and the gateway's address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = write_config(folder, **config)
        url = f"http://127.0.0.1:{port}"
        with running([*micro(), "up", "--dev", "--no-reload"], f"{url}/health", cwd=folder) as (process, _):
            yield process, folder, url


@contextlib.contextmanager
def bare():
    """A Starlette JSON route under the same uvicorn; gives the process and its address."""
    port = free_port()
    with running(bare_command(port), f"http://127.0.0.1:{port}/") as (process, _):
        yield process, f"http://127.0.0.1:{port}"


def bare_command(port: int) -> list[str]:
    """How the bare side is started."""
    return [
        sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", str(port), "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip


def micro() -> list[str]:
    """The command as a user has it: the script of this environment."""
    return [str(Path(sys.executable).with_name("micro"))]


def ask(method: str, url: str, *, token: str | None = None, body: object = None) -> dict:
    """One JSON request."""
    request = urllib.request.Request(url, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


def cpu_seconds(process: subprocess.Popen) -> float:
    """User and system time that a process and its threads have used."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def machine() -> str:
    """What to write beside a figure."""
    return f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {sys.platform}"
