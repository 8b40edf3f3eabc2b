"""From the gateway to a service: in its own process, and over the network. All processes' processor time counts.

What the application costs by itself, asked on its own port, is subtracted from both.
"""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gateway import ours
from benchmarks.gateway.load import saturate
from benchmarks.gateway.servers import LOAD_CORE, PROXY_CORE, Server
from benchmarks.processes import free_port

ROUNDS = 5
APP = """
HEAD = {"type": "http.response.start", "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"26")]}
BODY = {"type": "http.response.body", "body": b'{"id":42,"name":"measure"}'}

async def app(scope, receive, send):
    await send(HEAD)
    await send(BODY)
"""


def both(service: Server, gateway: Server, path: str) -> float:
    """Microseconds a request of both processes' time."""
    gateway.path = path
    before = service.cpu()
    run = saturate(gateway, 2)
    return run.cost + (service.cpu() - before) / run.requests * 1e6


def stack(folder: Path, name: str, services: dict, routes: list, *, core: int = PROXY_CORE):
    """A stack whose applications lie in a folder of its own."""
    (folder / name).mkdir()
    (folder / name / "hop_app.py").write_text(APP)
    return ours.micro_up(name, folder / name, gateway=ours.OFF, services=services, routes=routes, core=core)


def main() -> None:
    """Print the figures."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {LOAD_CORE})
    with TemporaryDirectory() as name, ExitStack() as running:
        folder, port = Path(name), free_port()
        app = {"app": "hop_app:app", "health": "/"}
        service = running.enter_context(
            stack(folder, "service", {"app": app | {"port": port}}, [], core=LOAD_CORE)
        )
        alone = Server("service", f"http://127.0.0.1:{port}", service.processes)
        services = {"near": app, "far": {"url": alone.url, "health": "/"}}
        routes = [{"path": f"/{each}", "service": each} for each in services]
        gateway = running.enter_context(stack(folder, "gateway", services, routes))
        rounds = [
            (both(service, gateway, "/near"), both(service, gateway, "/far"), saturate(alone, 2).cost)
            for _ in range(ROUNDS + 1)
        ]
        near, far, itself = (statistics.median(each) for each in zip(*rounds[1:], strict=True))
    print(f"the service by itself                {itself:6.1f} µs")
    print(f"through the gateway, in its process  {near:6.1f} µs, the hop {near - itself:.1f}")
    print(f"through it, over the network         {far:6.1f} µs, the hop {far - itself:.1f}")
    print(
        f"ratio of the hops                    {(far - itself) / (near - itself):6.2f}    (goal: at least 3)"
    )


if __name__ == "__main__":
    main()
