"""What clients notice while instances are replaced, or killed: 200 requests a second, two instances of the service."""

import asyncio
import json
import os
import signal
import time

from benchmarks.processes import ask
from benchmarks.prod.open_loop import OpenLoop
from benchmarks.prod.servers import run, servers, stack

RATE = 200
ROUNDS = 3
TOML = '\n[profiles.prod]\nrunner = "multi"\nreplicas = { task = 2, gateway = 2 }\n'
ADA = {"email": "ada@example.com", "name": "Ada", "password": "correct horse"}


class World:
    """A stack with somebody's tasks in it, and the requests for them."""

    def __init__(self, folder, url: str) -> None:
        self.folder, self.url = folder, url
        ask("POST", f"{url}/users", body=ADA)
        self.token = ask("POST", f"{url}/auth/login", body={key: ADA[key] for key in ("email", "password")})[
            "access_token"
        ]
        self.task = ask("POST", f"{url}/tasks", token=self.token, body={"title": "Write"})["id"]

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """As it goes over the wire."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.url.removeprefix('http://')}",
            f"Authorization: Bearer {self.token}",
        ]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    @property
    def reads(self) -> list[bytes]:
        """Requests that may be repeated."""
        return [self.request("GET", f"/tasks/{self.task}"), self.request("GET", "/tasks?limit=1")]

    @property
    def both(self) -> list[bytes]:
        """Three of four read, one writes."""
        return [*self.reads, self.reads[0], self.request("POST", "/tasks", b'{"title": "One more"}')]

    def instances(self, service: str) -> dict[str, int]:
        """The process of each healthy instance."""
        rows = json.loads(run(self.folder, "ps", "--json"))["items"]
        return {
            row["instance"]: row["pid"]
            for row in rows
            if (row["service"], row["state"]) == (service, "healthy")
        }

    def load(self, requests: list[bytes], *, resend: bool = False) -> OpenLoop:
        """For one measurement."""
        return OpenLoop(self.url, requests, rate=RATE, resend=resend)

    async def replace(self, service: str) -> str:
        """`micro restart` under load."""
        before = self.instances(service)
        seen = await self.load(self.both).during(asyncio.to_thread(run, self.folder, "restart", service))
        after = self.instances(service)
        assert not {*before.values()} & {*after.values()}, "it was replaced"
        return seen.line()

    async def kill(self, service: str, *, resend: bool = False) -> str:
        """An instance ends by SIGKILL under load."""
        back: list[float] = []
        seen = await self.load(self.reads, resend=resend).during(asyncio.to_thread(self._kill, service, back))
        return f"{seen.line()}; back in {back[0]:.2f} s"

    def _kill(self, service: str, back: list[float]) -> None:
        (name, victim), *others = self.instances(service).items()
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        while True:
            now = self.instances(service)
            if now.get(name, victim) != victim and len(now) == len(others) + 1:
                back.append(time.perf_counter() - began)
                return


def main() -> None:
    """Print the figures; the goals: no request fails, and a killed instance is back within 2 s."""
    with servers() as variables, stack(variables, more=TOML) as (folder, url):
        world = World(folder, url)
        for service in ("task", "gateway"):
            for _ in range(ROUNDS):
                print(f"micro restart {service:<14} {asyncio.run(world.replace(service))}")
        for _ in range(ROUNDS):
            print(f"kill -9 of a task         {asyncio.run(world.kill('task'))}")
        for _ in range(ROUNDS):  # its connections end with it, and a client has to ask again
            print(f"kill -9 of a gateway      {asyncio.run(world.kill('gateway', resend=True))}")


if __name__ == "__main__":
    main()
