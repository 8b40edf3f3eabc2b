"""One port, two processes: a socket that both inherit, against one of each one's own (SO_REUSEPORT).

python benchmarks/sockets.py

Prints throughput over kept connections (by wrk), and how many new connections failed while workers were replaced, and
killed, under load. Decided on this: docs/adr/0009-replicas-share-one-socket.md.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

WORKER = r"""
import asyncio, signal, socket, sys
import uvloop

mode, given = sys.argv[1], int(sys.argv[2])
if mode == "shared":
    sock = socket.socket(fileno=given)
else:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", given))
    sock.listen(2048)
sock.setblocking(False)

class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        for _ in range(data.count(b"\r\n\r\n")):
            sum(range(600))  # some work
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if b"close" in data:
            self.transport.close()

async def main():
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answers, sock=sock)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    print("up", flush=True)
    await stop.wait()
    server.close()
    await asyncio.sleep(0.3)

uvloop.run(main())
"""
TIMES = 6


class Port:
    """A port with two workers."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mode != "shared":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.sock.bind(("127.0.0.1", 0))
        self.number = self.sock.getsockname()[1]
        if mode == "shared":
            self.sock.listen(2048)
        self.workers = [self.spawn() for _ in range(2)]

    def spawn(self) -> subprocess.Popen[str]:
        """One more worker, which answers."""
        shared = self.mode == "shared"
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, self.mode, str(self.sock.fileno() if shared else self.number)],
            stdout=subprocess.PIPE,
            pass_fds=[self.sock.fileno()] if shared else [],
            text=True,
        )
        worker.stdout.readline()
        return worker

    def replace(self) -> None:
        """A new worker, then the end of the oldest."""
        self.workers.append(self.spawn())
        old = self.workers.pop(0)
        old.send_signal(signal.SIGTERM)
        old.wait()

    def kill(self) -> None:
        """The end of the oldest, then a new one."""
        old = self.workers.pop(0)
        old.kill()
        old.wait()
        self.workers.append(self.spawn())

    def close(self) -> None:
        """End all of them."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.sock.close()


class Load:
    """Sixteen clients, a connection for each request."""

    def __init__(self, port: int) -> None:
        self.done = self.failed = 0
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(16)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), 5) as connected:
                    connected.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
                    self.failed += not connected.recv(100)
                self.done += 1
            except OSError:
                self.failed += 1

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()


def throughput(port: int) -> str:
    command = ["wrk", "-t1", "-c32", "-d3s", "--latency", f"http://127.0.0.1:{port}/"]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return f"{words[words.index('Requests/sec:') + 1]} requests/s, p99 {words[words.index('99%') + 1]}"


def main() -> None:
    for mode in ("shared", "reuseport") * 2:
        port = Port(mode)
        kept = throughput(port.number)
        load = Load(port.number)
        time.sleep(0.3)
        counts = []
        for change in (port.replace, port.kill):
            done, failed = load.done, load.failed
            for _ in range(TIMES):
                change()
            counts.append(f"{load.failed - failed} of {load.done - done}")
        load.stop()
        port.close()
        print(
            f"{mode:9}  {kept}  failed while {TIMES} were replaced: {counts[0]}, killed: {counts[1]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
