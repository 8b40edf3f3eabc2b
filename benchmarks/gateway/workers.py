"""Two gateway processes on one port beside one, started in the same way.

The rate tells something only where client, origin and both workers have a core each; else the processor time a request
tells whether the second worker costs the first one anything. Run with arguments, it is `micro` on a port that it shares.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.gateway import ours
from benchmarks.gateway.servers import PROXY_CORE, Server, started
from benchmarks.gateway.side_by_side import beside, cost, in_turn, rate
from benchmarks.processes import environment, free_port

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 5
CORES = os.cpu_count() or 1
ENOUGH = 4


class SharedSocket(socket.socket):
    """A socket on whose port others may listen, too."""

    def bind(self, address) -> None:
        """Share the port."""
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().bind(address)


@contextlib.contextmanager
def workers(folder: Path, behind: Server, *, number: int):
    """So many gateways on one port."""
    port = free_port()
    processes = []
    with ExitStack() as running:
        for index in range(number):
            home = folder / f"worker-{index}-of-{number}"
            routes = [{"path": "/", "service": "origin"}]
            ours.write_stack(
                home, gateway=ours.OFF | {"port": port}, services=ours.remote(behind), routes=routes
            )
            command = [
                sys.executable,
                "-m",
                "benchmarks.gateway.workers",
                "-C",
                str(home),
                "up",
                "--dev",
                "--no-reload",
            ]
            core = PROXY_CORE if CORES < ENOUGH else 2 + index
            url = f"http://127.0.0.1:{port}/health"
            processes.append(running.enter_context(started(command, url, core=core, env=environment())))
        yield Server(f"{number} worker(s)", f"http://127.0.0.1:{port}", processes)


def main() -> None:
    """Print the figures."""
    one, two = partial(workers, number=1), partial(workers, number=2)
    with beside(one, two) as (_, servers):
        runs = in_turn(servers, rounds=ROUNDS, seconds=2)
        for maker, server in servers.items():
            print(f"{server.name:36} {cost(runs[maker]):5.1f} µs {rate(runs[maker]):7,.0f}/s")
    if CORES >= ENOUGH:
        print(
            f"rate of two / rate of one            {rate(runs[two]) / rate(runs[one]):5.2f}   (goal: at least 1.8)"
        )
    else:
        share = cost(runs[two]) / cost(runs[one])
        print(
            f"the rate of two needs {ENOUGH} cores, here are {CORES}: both on one core, a request costs {share:.2f} times as much"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from micro.__main__ import main as run_micro

        socket.socket = SharedSocket
        run_micro()
    else:
        main()
