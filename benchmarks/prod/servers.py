"""Real servers for a measurement, and the built-in stack on them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from benchmarks.processes import environment, first_answer, micro, write_config
from micro.clock import SystemClock
from micro.infra.local import Local, server_for

VARIABLES = {"store": "MICRO_STORE", "bus": "MICRO_BUS", "cache": "MICRO_CACHE"}


@contextlib.contextmanager
def servers(*ports: str):
    """Servers for `store`, `bus` and `cache`, or for those named, until the block ends; gives the variables that name them."""
    with tempfile.TemporaryDirectory() as folder:
        local = Local(Path(folder), clock=SystemClock())
        try:
            asyncio.run(local.up([server_for(port) for port in ports or VARIABLES], _unheard))
            yield {VARIABLES[port]: url for port, url in local.urls().items()}
        finally:
            asyncio.run(local.down())


def _unheard(_: str) -> None:
    """Their progress is no figure."""


@contextlib.contextmanager
def stack(variables: dict[str, str], *, more: str = ""):
    """The built-in stack in processes of its own; gives its folder and the gateway's address. `more` is for its micro.toml."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+") as errors:
        folder = Path(name)
        url = f"http://127.0.0.1:{write_config(folder, rate_limit='off')}"
        with (folder / "micro.toml").open("a") as file:
            file.write(more)
        process = subprocess.Popen(
            [*micro(), "up", "--prod", "--migrate"], cwd=folder, env=environment() | variables,
            stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
        try:
            try:
                first_answer(f"{url}/health", process, limit=60)
            except SystemExit as error:
                errors.seek(0)
                raise SystemExit(f"{error}: {errors.read()}") from error
            yield folder, url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def run(folder: Path, *arguments: str) -> str:
    """What a command of micro prints in the stack's folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MICRO_")}
    done = subprocess.run(
        [*micro(), *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"micro {' '.join(arguments)}: {done.stderr}")
    return done.stdout
