"""Two workers of one gateway beside one, as the supervisor runs them: they take their connections from one socket.

Where client, origin and both workers can't have a core each, every worker gets a quota of a quarter of one (by cgroup,
which takes root): so a core is free for whatever a worker is allowed to do, as it would be on a larger machine. Without
either, the processor time a request tells whether the second worker costs the first one anything.

Run with arguments, it is that stack; its back ends are in memory, as a route to a server elsewhere uses none.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.gateway import ours
from benchmarks.gateway.servers import PROXY_CORE, Server, started
from benchmarks.gateway.side_by_side import beside, cost, in_turn, rate
from benchmarks.processes import environment, free_port, micro, pin
from micro.config.read import read_config
from micro.profile import Profile
from micro.runtime.up import UpOptions, up

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
CORES = os.cpu_count() or 1
ENOUGH = 4
QUOTA = 25
"""Percent of a core for each worker, where there are too few of them."""
_PERIOD = 10_000
"""Microseconds over which a quota counts."""


class NoQuota(Exception):  # not an error: it is reported
    """This process may not make control groups."""


@contextlib.contextmanager
def quotas(pids: list[int]) -> Iterator[None]:
    """Give each process a control group of its own, with the quota (cgroup v1 or v2). Raises `NoQuota`."""
    root, legacy = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")
    period, slice_ = str(_PERIOD), str(_PERIOD * QUOTA // 100)
    if legacy.is_dir():
        root, limits = legacy, {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": slice_}
    else:
        limits = {"cpu.max": f"{slice_} {period}"}
    with ExitStack() as made:
        for pid in pids:
            group = root / f"micro-benchmark-{pid}"
            try:
                group.mkdir()
                made.callback(group.rmdir)
                for name, value in limits.items():
                    (group / name).write_text(value)
                (group / "cgroup.procs").write_text(str(pid))
            except OSError as error:
                raise NoQuota from error
            made.callback(_leave, root, pid)
        yield


def _leave(root: Path, pid: int) -> None:
    with contextlib.suppress(OSError):  # it may have ended
        (root / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def workers(folder: Path, behind: Server, *, number: int, limited: bool) -> Iterator[Server]:
    """A gateway of so many workers. `pids` of what is given are theirs."""
    home = folder / f"{number}-workers"
    routes = [{"path": "/", "service": "origin"}]
    port = ours.write_stack(
        home, gateway=ours.OFF | {"port": free_port()}, services=ours.remote(behind), routes=routes
    )
    command = [sys.executable, "-m", "benchmarks.gateway.workers", str(home), str(number)]
    url = f"http://127.0.0.1:{port}"
    env = {**environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with started(command, f"{url}/health", core=PROXY_CORE, env=env) as process, ExitStack() as held:
        listing = subprocess.run(
            [*micro(), "ps", "--json"], cwd=home, check=True, capture_output=True, env=env
        )
        rows = json.loads(listing.stdout)["items"]
        pids = [row["pid"] for row in rows if row["service"] == "gateway"]
        for index, pid in enumerate(pids):
            pin(psutil.Process(pid), PROXY_CORE if CORES < ENOUGH else 2 + index)
        if limited:
            held.enter_context(quotas(pids))
        server = Server(f"{number} worker(s)", url, [process])
        server.pids = pids
        yield server


def shares(server: Server, before: dict[int, float]) -> str:
    """How the work was spread over the workers."""
    used = [sum(psutil.Process(pid).cpu_times()[:2]) - before[pid] for pid in server.pids]
    return " : ".join(f"{each / sum(used):.0%}" for each in used)


def measure(*, limited: bool) -> None:
    """Print the figures."""
    one, two = (partial(workers, number=number, limited=limited) for number in (1, 2))
    with beside(one, two) as (_, servers):
        before = {
            pid: sum(psutil.Process(pid).cpu_times()[:2]) for each in servers.values() for pid in each.pids
        }
        runs = in_turn(servers, rounds=ROUNDS, seconds=2)
        for maker, server in servers.items():
            print(
                f"{server.name:36} {cost(runs[maker]):5.1f} µs {rate(runs[maker]):7,.0f}/s   work {shares(server, before)}"
            )
    if limited or CORES >= ENOUGH:
        note = f", each with {QUOTA} % of a core" if limited else ""
        ratio = rate(runs[two]) / rate(runs[one])
        print(f"rate of two / rate of one{note}: {ratio:.2f}   (goal: at least 1.8)")
    else:
        share = cost(runs[two]) / cost(runs[one])
        print(
            f"the rate of two needs {ENOUGH} cores or a quota; both on one core, a request costs {share:.2f} times as much"
        )


def main() -> None:
    """With quotas where they are needed and can be had."""
    try:
        measure(limited=CORES < ENOUGH)
    except NoQuota:
        measure(limited=False)


class Observer:
    """Nobody looks at what the stack says."""

    def ready(self, report: object) -> None:
        """It answers."""

    def stopping(self) -> None:
        """It ends."""

    def notice(self, text: str) -> None:
        """Whatever it is."""


def run(home: Path, number: int) -> None:
    """The stack in `home` until it is asked to stop."""
    profile = Profile(
        name="dev",
        runner="multi",
        store="sqlite:.micro/{service}.db",
        bus="memory:",
        cache="memory:",
        replicas={"gateway": number},
    )
    options = UpOptions(reload=False, console=False)
    up(read_config(home, os.environ), profile, observer=Observer(), options=options)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
