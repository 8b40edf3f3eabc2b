"""Runs a stack in many processes on back ends that need no server, and says on stdout what its observer is told.

python launch_multi.py FOLDER [--no-deps] [--no-gateway] [SERVICE=REPLICAS…] [SERVICE…]
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvloop
from launch import Observer, say

from micro.clock import SystemClock
from micro.config.read import read_config
from micro.errors import MicroError
from micro.profile import Profile
from micro.runtime.hangup import Hangup
from micro.runtime.multi import children
from micro.runtime.multi import runner as runners
from micro.runtime.multi.runner import MultiRunner
from micro.runtime.options import RunnerOptions
from micro.runtime.settings import Choice
from micro.runtime.state import StateFolder
from micro.runtime.stop import Stop
from micro.telemetry.logs import configure_logs


async def run(folder: StateFolder, arguments: list[str]) -> None:
    clock = SystemClock()
    config = read_config(folder.path.parent, os.environ)
    counts = [word.partition("=") for word in arguments if "=" in word]
    replicas = {name: int(count) for name, _, count in counts}
    names = tuple(word for word in arguments if "=" not in word and not word.startswith("--"))
    choice = Choice(
        names=names, depends="--no-deps" not in arguments, gateway="--no-gateway" not in arguments
    )
    profile = Profile(
        name="dev",
        runner="multi",
        store="sqlite:.micro/{service}.db",
        bus="memory:",
        cache="memory:",
        replicas=replicas,
    )
    with Stop() as stop:
        options = RunnerOptions(
            folder=folder, observer=Observer(), stop=stop, began=clock.monotonic(), choice=choice
        )
        runner = MultiRunner(config, profile, options=options, clock=clock, build="multi_parts:build")
        with Hangup(reload=runner.reread, stop=stop.ask):
            await runner.run()


def main() -> int:
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    children.KILL_AFTER = float(os.environ.get("KILL_AFTER", children.KILL_AFTER))
    runners.GRACE = float(os.environ.get("GRACE", runners.GRACE))
    folder = StateFolder(Path(sys.argv[1]) / ".micro")
    try:
        folder.acquire()
        logs = configure_logs(folder.logs)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run(folder, sys.argv[2:]))
        finally:
            logs.close()
            folder.release()
    except MicroError as error:
        say(error=str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
