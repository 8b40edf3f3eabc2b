"""Two kinds of load: as much as goes (closed loop, by wrk where installed), and a fixed rate (open loop)."""

from __future__ import annotations

import random
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.gateway.servers import LOAD_CORE, Absent

if TYPE_CHECKING:
    from benchmarks.gateway.servers import Server

CONNECTIONS = 32


@dataclass
class Run:
    """What a load has measured."""

    requests: int
    rate: float
    """Answers a second."""
    cpu: float
    """Seconds of processor time that the server used."""

    @property
    def cost(self) -> float:
        """Microseconds of processor time a request."""
        return self.cpu / self.requests * 1e6


def saturate(server: Server, seconds: int, *, connections: int = CONNECTIONS, script: str = "") -> Run:
    """As many requests as the server answers, each connection sending the next one when it has its answer.

    `script` is one of wrk's, in Lua.
    """
    if shutil.which("wrk") is None:
        raise Absent("wrk")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for name, value in server.headers.items():
        command += ["-H", f"{name}: {value}"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["-s", file.name]
        command = ["taskset", "-c", str(LOAD_CORE), *command, server.url + server.path]
        before = server.cpu()
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = server.cpu() - before
    failures = re.findall(r"Non-2xx.*|Socket errors:.*", text)
    if failures:
        raise SystemExit(f"{server.name}: {'; '.join(failures)}")
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return Run(requests, requests / seconds, used)


class _Paced:
    """Keep-alive connections that requests leave on at moments set in advance."""

    def __init__(self, server: Server, connections: int) -> None:
        lines = [f"GET {server.path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
        lines += [f"{name}: {value}" for name, value in server.headers.items()]
        self.request = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self.idle: deque[socket.socket] = deque()
        self.busy: dict[socket.socket, float] = {}
        self.latencies: list[float] = []
        for _ in range(connections):
            one = socket.create_connection(("127.0.0.1", server.port))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.idle.append(one)

    def send(self, due: float) -> None:
        """A request that was to leave at `due`, on the connection that has been idle longest."""
        one = self.idle.popleft()
        one.send(self.request)
        self.busy[one] = due

    def take(self, seconds: float) -> None:
        """Answers that come within `seconds`. An answer of this origin and its head come in one piece."""
        ready, _, _ = select.select(list(self.busy), (), (), seconds)
        for one in ready:
            data = one.recv(65536)
            now = time.perf_counter()
            if data[9:12] != b"200":
                raise SystemExit(f"no 200 but {data[:80]!r}")
            self.latencies.append(now - self.busy.pop(one))
            self.idle.append(one)

    def close(self) -> None:
        """Every connection."""
        for one in (*self.idle, *self.busy):
            one.close()


def pace(
    server: Server, rate: float, seconds: float, *, connections: int = CONNECTIONS
) -> tuple[Run, list[float]]:
    """`rate` requests a second at random moments (exponential gaps), and the seconds that each took.

    A request's time counts from the moment at which it was to leave, whether there was a free connection or not, so
    a server that stalls is charged for the requests that had to wait (no coordinated omission).
    """
    paced, dice = _Paced(server, connections), random.Random(7)
    before = server.cpu()
    started = due = time.perf_counter()
    end = started + seconds
    while (now := time.perf_counter()) < end:
        while due <= now and paced.idle:
            paced.send(due)
            due += dice.expovariate(rate)
        paced.take(max(0.0, min(due, end) - now) if paced.idle else 1.0)
    while paced.busy:
        paced.take(1.0)
    used = server.cpu() - before
    paced.close()
    if due < end - 1.0:
        raise SystemExit(f"{server.name} does not keep up with {rate:.0f} requests a second")
    return Run(len(paced.latencies), len(paced.latencies) / seconds, used), paced.latencies
