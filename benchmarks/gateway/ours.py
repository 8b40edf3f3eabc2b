"""`micro up` in front of the same origin."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator  # noqa: TC003 # a plain script
from typing import TYPE_CHECKING

from benchmarks.gateway.servers import PROXY_CORE, Server, started
from benchmarks.processes import environment, free_port, micro

if TYPE_CHECKING:
    from pathlib import Path

OFF = {"rate_limit": "off", "access_log": False, "security_headers": False, "max_requests": 100_000}
"""What can be switched off in the `[gateway]` table."""
ON = {"rate_limit": "1000000/second", "access_log": True, "max_requests": 100_000}


def table(name: str, values: dict) -> str:
    """A table of TOML, or an entry of an array of tables; plain values are written as in JSON."""
    return "\n".join([name, *(f"{key} = {_toml(value)}" for key, value in values.items())]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def write_stack(home: Path, *, gateway: dict, services: dict[str, dict], routes: list[dict]) -> int:
    """`micro.toml` in `home`; returns the gateway's port."""
    home.mkdir(exist_ok=True)
    gateway = {"port": free_port()} | gateway
    text = table("[stack]", {"name": "measure", "builtin": False}) + table("[gateway]", gateway)
    for name, values in services.items():
        text += table(f"[services.{name}]", values)
    for values in routes:
        text += table("[[gateway.routes]]", values)
    (home / "micro.toml").write_text(text)
    return gateway["port"]


@contextlib.contextmanager
def micro_up(name: str, home: Path, *, gateway: dict, services: dict[str, dict], routes: list[dict], core: int = PROXY_CORE) -> Iterator[Server]:  # fmt: skip
    """A stack of ours on one core."""
    port = write_stack(home, gateway=gateway, services=services, routes=routes)
    url = f"http://127.0.0.1:{port}"
    command = [*micro(), "up", "--dev", "--no-reload"]
    with started(command, f"{url}/health", core=core, cwd=home, env=environment()) as process:
        yield Server(name, url, [process])


def token(home: Path) -> str:
    """A token of the stack in `home`."""
    command = [*micro(), "token", "ann", "--ttl", "12h"]
    return subprocess.run(
        command, cwd=home, env=environment(), check=True, capture_output=True, text=True
    ).stdout.strip()


def remote(behind: Server, **upstream: object) -> dict[str, dict]:
    """The origin as a service on the network."""
    return {"origin": {"url": behind.url, "health": "/"}} | (
        {"origin.upstream": upstream} if upstream else {}
    )


def ours_bare(
    folder: Path, behind: Server, *, adapter: str = "auto"
) -> contextlib.AbstractContextManager[Server]:
    """A route with everything off that can be."""
    name = "micro" if adapter == "auto" else f"micro, adapter {adapter}"
    return micro_up(
        name,
        folder / f"micro-bare-{adapter}",
        gateway=OFF | {"adapter": adapter},
        services=remote(behind),
        routes=[{"path": "/", "service": "origin"}],
    )


@contextlib.contextmanager
def ours_policies(folder: Path, behind: Server, *, adapter: str = "auto") -> Iterator[Server]:
    """A route with token, rate limit, breakers, metrics, trace context and access log."""
    home = folder / f"micro-policies-{adapter}"
    name = "micro, JWT, limit, breaker, metrics, trace, log"
    route = {"path": "/", "service": "origin", "auth": "required"}
    with micro_up(
        name if adapter == "auto" else f"{name}, adapter {adapter}",
        home,
        gateway=ON | {"adapter": adapter},
        services=remote(behind),
        routes=[route | {"breaker": {"failure_rate": 50}}],
    ) as server:
        server.headers["Authorization"] = f"Bearer {token(home)}"
        yield server
