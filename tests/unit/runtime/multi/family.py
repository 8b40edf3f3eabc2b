"""Children that are no processes: they do at once what they are told, and note it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from micro.errors import MicroError
from micro.runtime.multi.children import STOPPING
from micro.runtime.multi.group import Group


class FakeChild:
    """Behaves as `micro.runtime.multi.children.Child` does, as far as a group sees."""

    def __init__(self, service: str, number: int, notes: list[str], refusals: set[str]) -> None:
        self.service, self.name = service, f"{service}-{number}"
        self.description = SimpleNamespace(number=number)
        self.facts: dict[str, Any] = {"port": number}
        self.report: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.withdrawn = False
        self.restarts, self.began, self.seconds = 0, 0.0, 0.25
        self.pid: int | None = None
        self.port: int | None = None
        self.state = "starting"
        self._notes, self._refusals = notes, refusals
        self._over = asyncio.Event()

    @property
    def url(self) -> str | None:
        return None if self.port is None or self.withdrawn else f"http://{self.name}"

    @property
    def listens(self) -> bool:
        return self.port is not None

    async def start(self) -> None:
        await self.spawn()
        await self.begin()

    async def spawn(self) -> None:
        self._note("spawn")

    async def open(self, facts: Any) -> None:
        self._note("open")

    async def begin(self) -> None:
        self._note("begin")
        self.port, self.pid, self.state = 1, 1, "healthy"

    async def run(self) -> None:
        await self._over.wait()

    async def stop(self) -> None:
        self._note("stop")
        self._end()

    async def kill(self) -> None:
        if self.pid is not None:
            self._note("kill")
        self._end()

    async def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        self.asked.append((verb, args))
        answer = self.answers.get(verb, {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> None:
        self.port = self.pid = None
        self.state = STOPPING
        self._over.set()

    def _note(self, what: str) -> None:
        self._notes.append(f"{what} {self.name}")
        if f"{what} {self.name}" in self._refusals:
            raise MicroError(f"{self.name} won't {what}")


class Family:
    """Makes groups of such children. `notes` says what happened in which order; what is in `refusals` is refused."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.refusals: set[str] = set()

    def group(self, name: str) -> Group:
        made: Group

        async def publish() -> None:
            self.notes.append(
                f"publish {' '.join(url.removeprefix('http://') for url in made.urls)}".rstrip()
            )

        made = Group(name, make=lambda number: self.child(name, number), publish=publish)
        return made

    def child(self, name: str, number: int) -> Any:
        return FakeChild(name, number, self.notes, self.refusals)
