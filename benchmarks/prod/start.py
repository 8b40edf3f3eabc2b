"""From process start to ready: `micro up --prod`, on servers that run, beside `micro up --dev`.

Ready is when the command says so: whoever asks for an answer again and again takes the time of one of the cores.
"""

import contextlib
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.processes import ask, environment, micro, write_config
from benchmarks.prod.servers import servers
from benchmarks.startup import in_turn

WARM = 5
"""Starts that don't count: servers that were started a moment ago are still busy with themselves, Kafka's JVM above all."""


def start(folder: Path, *flags: str, **variables: str) -> float:
    """Seconds until the command says that the stack is up; then it answers."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*micro(), "up", "--json", *flags], cwd=folder, env=environment() | variables,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        report = b""
        while chunk := process.stdout.read1():
            report += chunk
            with contextlib.suppress(ValueError):
                gateway = json.loads(report)["gateway"]
                seconds = time.perf_counter() - began
                ask("GET", f"{gateway}/auth/jwks.json")
                return seconds
        raise SystemExit(f"micro up {' '.join(flags)} ended with {process.wait()}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def main() -> None:
    """Print the figures."""
    with servers() as variables, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder, rate_limit="off")
        start(folder, "--prod", "--migrate", **variables)
        for _ in range(WARM):
            start(folder, "--prod", **variables)
        ours, theirs = in_turn(lambda: start(folder, "--prod", **variables), lambda: start(folder, "--dev"))
    print(f"micro up --prod until it is ready    {ours * 1000:6.0f} ms")
    print(f"micro up --dev until it is ready     {theirs * 1000:6.0f} ms")
    print(f"ratio                                {ours / theirs:6.2f}    (goal: at most 3)")


if __name__ == "__main__":
    main()
