"""All proxies in front of one origin, measured in turn within the same minutes."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator  # a plain script
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks.gateway import ours
from benchmarks.gateway.load import Run, saturate
from benchmarks.gateway.servers import (
    LOAD_CORE,
    Absent,
    Server,
    caddy_bare,
    haproxy_bare,
    haproxy_policies,
    nginx_bare,
    nginx_limited,
    origin,
)

Maker = Callable[[Path, Server], AbstractContextManager[Server]]

NGINX, HAPROXY, CADDY = nginx_bare, haproxy_policies, caddy_bare
BARE, POLICIES = ours.ours_bare, ours.ours_policies
ALL: tuple[Maker, ...] = (
    nginx_bare,
    nginx_limited,
    haproxy_bare,
    haproxy_policies,
    caddy_bare,
    BARE,
    POLICIES,
    partial(BARE, adapter="asgi"),
    partial(POLICIES, adapter="asgi"),
)


@contextlib.contextmanager
def beside(*makers: Maker) -> Iterator[tuple[Server, dict[Maker, Server]]]:
    """The origin, and every proxy that is installed; the others are named."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker reads files there
        source = running.enter_context(origin(folder))
        servers = {}
        for maker in makers:
            try:
                servers[maker] = running.enter_context(maker(folder, source))
            except Absent as absent:
                print(f"absent: {absent}")
        yield source, servers


def in_turn(
    servers: dict[Maker, Server], *, rounds: int, seconds: int, script: str = ""
) -> dict[Maker, list[Run]]:
    """Each server at saturation, A B C A B C …, so that the machine's drift meets all. `script` is for `saturate`."""
    for server in servers.values():
        saturate(server, 1, script=script)
    runs: dict[Maker, list[Run]] = {maker: [] for maker in servers}
    for _ in range(rounds):
        for maker, server in servers.items():
            runs[maker].append(saturate(server, seconds, script=script))
    return runs


def cost(runs: list[Run]) -> float:
    """Microseconds a request: the median of the runs."""
    return statistics.median(run.cost for run in runs)


def rate(runs: list[Run]) -> float:
    """Requests a second: the median of the runs."""
    return statistics.median(run.rate for run in runs)


def ratio(mine: list[Run], theirs: list[Run]) -> float:
    """How many times theirs: the median over the rounds, each of which met the same machine."""
    return statistics.median(a.cost / b.cost for a, b in zip(mine, theirs, strict=True))
