"""What the gateway holds: 10,000 idle connections, 1,000 WebSockets, 1,000 event streams; and 1 GB through it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator  # noqa: TC003 # a plain script
from pathlib import Path

import uvloop

from benchmarks.gateway import ours
from benchmarks.gateway.servers import LOAD_CORE, Server, started
from benchmarks.processes import free_port

IDLE = 10_000
RESERVE = 400
"""Files for anything but the connections that are counted."""
HELD = 1_000
GIGABYTE = 1 << 30
SETTINGS = ours.OFF | {"max_body": "2GiB"}


@contextlib.contextmanager
def gateway() -> Iterator[Server]:
    """Ours in front of an origin that streams."""
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.gateway.source", str(port)]
        url = f"http://127.0.0.1:{port}"
        with started(command, url, core=LOAD_CORE) as process, ours.micro_up(
            "micro", Path(name) / "stack", gateway=SETTINGS,
            services={"origin": {"url": url, "health": "/"}, "origin.upstream": {"max_connections": 4096, "max_requests": 4096}},
            routes=[{"path": "/", "service": "origin", "timeout": "10m"}],
        ) as server:  # fmt: skip
            assert process.pid
            yield server


def more_files() -> int:
    """Allow as many open files as this user may have, here and in what is started from here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Peak:
    """The most memory that a server has used since."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = server.resident()
        for each in server.tree():
            Path(f"/proc/{each.pid}/clear_refs").write_text("5")  # the high-water mark begins anew: proc(5)

    def grown(self) -> int:
        """Bytes more than before, at most."""
        total = 0
        for each in self._server.tree():
            status = Path(f"/proc/{each.pid}/status").read_text()
            total += int(status.split("VmHWM:")[1].split()[0]) * 1024
        return total - self._before


async def ask(server: Server, request: bytes, until: Callable[[bytes], bool]):
    """Open a connection, send a request and read until `until`; the connection stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    data = b""
    while not until(data):
        piece = await asyncio.wait_for(reader.read(65536), 30)
        if not piece:
            raise SystemExit(f"the connection was closed after {data[:100]!r}")
        data += piece
    return reader, writer


def head(server: Server, path: str, *fields: str, method: str = "GET") -> bytes:
    """A request's head."""
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *fields, "", ""]
    ).encode()


async def many(number: int, open_one) -> list:
    """So many connections, a hundred at a time."""
    connections = []
    while len(connections) < number:
        connections += await asyncio.gather(*(open_one() for _ in range(min(100, number - len(connections)))))
    return connections


async def idle(server: Server) -> None:
    """Idle keep-alive connections, each of which has had an answer."""
    request = head(server, "/hello")
    await many(200, lambda: ask(server, request, lambda data: data.endswith(b"hello")))
    before = server.resident()
    number = min(IDLE, more_files() // 2 - RESERVE)  # a gateway takes as many clients as half of its files
    connections = await many(number, lambda: ask(server, request, lambda data: data.endswith(b"hello")))
    if any(reader.at_eof() for reader, _ in connections):
        raise SystemExit("the gateway has closed an idle connection")
    each = (server.resident() - before) / number / 1024
    print(f"{number:,} idle connections               {each:6.1f} KB each   (goal: at most 12)")


async def events(server: Server) -> None:
    """Event streams held, and one event to all of them."""
    before = server.resident()
    streams = await many(HELD, lambda: ask(server, head(server, "/events"), lambda data: b"begun" in data))
    each = (server.resident() - before) / HELD / 1024
    used = server.cpu()
    await asyncio.sleep(2)
    used = (server.cpu() - used) / 2
    told = time.perf_counter()
    await ask(server, head(server, "/tell"), lambda data: data.endswith(str(HELD).encode()))
    for reader, _ in streams:
        data = b""
        while b"told" not in data:
            data += await asyncio.wait_for(reader.readuntil(b"\n\n"), 30)
    passed = time.perf_counter() - told
    print(
        f"{HELD:,} event streams held             {each:6.1f} KB each, {used * 100:.1f} % of a core while idle, an event reaches all in {passed * 1000:.0f} ms"
    )


async def websockets(server: Server) -> None:
    """WebSockets held, and a message there and back on each."""
    before = server.resident()
    key = base64.b64encode(os.urandom(16)).decode()
    fields = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    sockets = await many(
        HELD, lambda: ask(server, head(server, "/socket", *fields), lambda data: b"\r\n\r\n" in data)
    )
    each = (server.resident() - before) / HELD / 1024
    started_at = time.perf_counter()
    for _, writer in sockets:
        writer.write(
            bytes((0x81, 0x85, 1, 2, 3, 4))
            + bytes(a ^ b for a, b in zip(b"hello", (1, 2, 3, 4, 1), strict=True))
        )
    for reader, _ in sockets:
        if await asyncio.wait_for(reader.readexactly(7), 30) != b"\x81\x05hello":
            raise SystemExit("a WebSocket gave another message back")
    passed = time.perf_counter() - started_at
    print(
        f"{HELD:,} WebSockets held                {each:6.1f} KB each, a message there and back on all in {passed * 1000:.0f} ms"
    )


async def download(server: Server) -> None:
    """1 GB from the origin to a client."""
    peak, began, used = Peak(server), time.perf_counter(), server.cpu()
    reader, writer = await ask(server, head(server, f"/bulk/{GIGABYTE}"), lambda data: b"\r\n\r\n" in data)
    left = GIGABYTE - (1 << 18)
    while left > 0:
        piece = await asyncio.wait_for(reader.read(1 << 18), 30)
        if not piece:
            raise SystemExit("the answer broke off")
        left -= len(piece)
    writer.close()
    report("1 GB to the client", peak, time.perf_counter() - began, server.cpu() - used)


async def upload(server: Server) -> None:
    """1 GB from a client to the origin."""
    peak, began, used = Peak(server), time.perf_counter(), server.cpu()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head(server, "/sink", f"Content-Length: {GIGABYTE}", method="POST"))
    piece = bytes(1 << 18)
    for _ in range(GIGABYTE // len(piece)):
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.readuntil(b"taken"), 30)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()
    report("1 GB to the origin", peak, time.perf_counter() - began, server.cpu() - used)


def report(name: str, peak: Peak, seconds: float, cpu: float) -> None:
    """Memory and speed."""
    grown = peak.grown() / (1 << 20)
    print(
        f"{name:35} {grown:6.1f} MB more memory   (goal: at most 8), {GIGABYTE / seconds / 1e6:.0f} MB/s, {cpu:.2f} s of CPU"
    )


def main() -> None:
    """Print the figures."""
    more_files()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {LOAD_CORE})
    for measure in (idle, events, websockets, download, upload):
        with gateway() as server:
            uvloop.run(measure(server))


if __name__ == "__main__":
    main()
