"""Process start to the first 200: `micro up --dev` beside a bare Starlette under uvicorn; and `micro --help`."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import bare_command, environment, free_port, micro, running, write_config

RUNS = 9


def bare_start() -> float:
    """Seconds until a bare Starlette hello answers."""
    port = free_port()
    with running(bare_command(port), f"http://127.0.0.1:{port}/") as (_, seconds):
        return seconds


def stack_start(folder: Path, port: int) -> float:
    """Seconds until a service answers through the gateway."""
    command = [*micro(), "up", "--dev"]
    with running(command, f"http://127.0.0.1:{port}/auth/jwks.json", cwd=folder) as (_, seconds):
        return seconds


def seconds_of(command: list[str]) -> float:
    """How long a command takes as a whole."""
    started = time.perf_counter()
    subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def in_turn(first, second) -> tuple[float, float]:
    """Median of each, run A B A B …, so that the machine's drift meets both."""
    pairs = [(first(), second()) for _ in range(RUNS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = write_config(folder)
        very_first = stack_start(folder, port)
        ours, theirs = in_turn(lambda: stack_start(folder, port), bare_start)
    print(f"very first start (keys, migrations)  {very_first * 1000:6.0f} ms")
    print(f"micro up --dev to first 200          {ours * 1000:6.0f} ms")
    print(f"bare Starlette under uvicorn         {theirs * 1000:6.0f} ms")
    print(f"ratio                                {ours / theirs:6.2f}    (goal: at most 2)")
    ours, theirs = in_turn(
        lambda: seconds_of([*micro(), "--help"]),
        lambda: seconds_of([sys.executable, "-c", "import typer"]),
    )
    print(f"micro --help                         {ours * 1000:6.0f} ms")
    print(f"python -c 'import typer'             {theirs * 1000:6.0f} ms")
    print(f"ratio                                {ours / theirs:6.2f}    (goal: at most 2.5)")


if __name__ == "__main__":
    main()
