"""CPU per request: a task read and a task created through the gateway, everything on, beside a bare Starlette route.

Both sides run under uvicorn with uvloop and httptools, pinned to one core, with 32 keep-alive connections from another.
"""

import os

from benchmarks.load import drive
from benchmarks.processes import ask, bare, cpu_seconds, pin, stack

ROUNDS = 5


def cost(process, url: str, **request) -> float:
    """Microseconds of CPU per request of the server's process, best of the rounds."""
    drive(url, **request | {"total": 3_000})
    figures = []
    for _ in range(ROUNDS):
        before = cpu_seconds(process)
        load = drive(url, **request)
        if load.failures:
            raise SystemExit(f"{load.failures} of {load.requests} requests failed")
        figures.append((cpu_seconds(process) - before) / load.requests * 1e6)
    return sorted(figures)[len(figures) // 2]


def sign_in(url: str) -> str:
    """A new user's token."""
    user = {"email": "ada@example.com", "name": "Ada", "password": "correct horse"}
    ask("POST", f"{url}/users", body=user)
    login = {"email": user["email"], "password": user["password"]}
    return ask("POST", f"{url}/auth/login", body=login)["access_token"]


def main() -> None:
    """Print the figures."""
    pin_self()
    with bare() as (process, url):
        pin(process, 0)
        theirs = cost(process, url)
    with stack(rate_limit="1000000/second") as (process, _, url):
        pin(process, 0)
        token = sign_in(url)
        headers = {"Authorization": f"Bearer {token}"}
        task = ask("POST", f"{url}/tasks", token=token, body={"title": "measure"})
        read = cost(process, url, path=f"/tasks/{task['id']}", headers=headers)
        create = cost(
            process,
            url,
            method="POST",
            path="/tasks",
            headers=headers,
            body=b'{"title": "measure"}',
            total=4_000,
        )
    print(f"bare Starlette JSON route            {theirs:6.0f} µs")
    print(f"GET /tasks/{{id}} through the gateway  {read:6.0f} µs")
    print(f"ratio                                {read / theirs:6.2f}    (goal: at most 3)")
    print(f"POST /tasks with its events handled  {create:6.0f} µs")


def pin_self() -> None:
    """The client stays off the server's core."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})


if __name__ == "__main__":
    main()
