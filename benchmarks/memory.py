"""Resident memory of the whole idle stack, after it has served every service once."""

import psutil

from benchmarks.processes import ask, bare, stack
from benchmarks.traffic import sign_in


def megabytes(process) -> float:
    """Resident set of a process and its children, in MB (10⁶ bytes)."""
    parent = psutil.Process(process.pid)
    return sum(p.memory_info().rss for p in [parent, *parent.children(recursive=True)]) / 1e6


def main() -> None:
    """Print the figures."""
    with stack() as (process, _, url):
        idle = megabytes(process)
        token = sign_in(url)
        ask("POST", f"{url}/tasks", token=token, body={"title": "measure"})
        used = megabytes(process)
    with bare() as (process, _):
        theirs = megabytes(process)
    print(f"micro up --dev, idle            {idle:6.0f} MB   (goal: at most 110)")
    print(f"after a login and a task        {used:6.0f} MB")
    print(f"bare Starlette under uvicorn    {theirs:6.0f} MB")


if __name__ == "__main__":
    main()
