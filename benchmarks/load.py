"""A small closed-loop HTTP/1.1 load: N keep-alive connections, one request in flight on each."""

import asyncio
import time
from dataclasses import dataclass


@dataclass
class Load:
    """What a run measured from the client's side."""

    requests: int
    failures: int
    seconds: float


class _Connection(asyncio.Protocol):
    """Sends the same request again as soon as its answer is complete."""

    def __init__(self, request: bytes, run: "_Run") -> None:
        self.request, self.run = request, run
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head := self.buffer.find(b"\r\n\r\n")) >= 0:
            lower = self.buffer[:head].lower()
            start = lower.find(b"content-length:")
            length = int(lower[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self.buffer) < head + 4 + length:
                return
            self.run.count(ok=self.buffer[9:10] == b"2")
            self.buffer = self.buffer[head + 4 + length :]
            if self.run.over:
                self.transport.close()
                return
            self.transport.write(self.request)

    def connection_lost(self, error) -> None:
        self.run.closed()


class _Run:
    def __init__(self, total: int, connections: int) -> None:
        self.total, self.open = total, connections
        self.done = self.failed = 0
        self.finished = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        return self.done >= self.total

    def count(self, *, ok: bool) -> None:
        self.done += 1
        self.failed += not ok

    def closed(self) -> None:
        self.open -= 1
        if not self.open and not self.finished.done():
            self.finished.set_result(None)


async def _drive(host: str, port: int, request: bytes, *, total: int, connections: int) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(total, connections)
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(request, run), host, port)
    await asyncio.wait_for(run.finished, 300)
    return Load(run.done, run.failed, time.perf_counter() - started)


def drive(url: str, *, method: str = "GET", path: str = "/", headers: dict | None = None, body: bytes = b"",
          total: int = 20_000, connections: int = 32) -> Load:  # fmt: skip
    """Send `total` requests over `connections` keep-alive connections."""
    host, port = url.removeprefix("http://").split(":")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
    return asyncio.run(_drive(host, int(port), request, total=total, connections=connections))
