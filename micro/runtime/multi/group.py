"""The instances of one service: how many there are, and how they are replaced while the others serve."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from micro.errors import MicroError
from micro.runtime.health import HEALTHY, STARTING, UNHEALTHY
from micro.runtime.multi.children import CRASH_LOOP
from micro.runtime.multi.household import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.runtime.multi.children import Child


class Group:
    """Instances of one service, the oldest first. One change at a time: `scale` and `restart` wait for each other."""

    def __init__(
        self, name: str, *, make: Callable[[int], Child], publish: Callable[[], Awaitable[None]]
    ) -> None:
        """`make` gives a child of that number, not started. `publish` returns when every process knows who may get traffic."""
        self.name = name
        self.children: list[Child] = []
        self._make = make
        self._publish = publish
        self._keeping: dict[Child, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()

    @property
    def urls(self) -> list[str]:
        """Of the instances that may get traffic."""
        return [child.url for child in self.children if child.url is not None]

    @property
    def verdict(self) -> str:
        """What is said of the service as a whole: the best that is true of an instance."""
        states = {child.state for child in self.children}
        for state in (HEALTHY, STARTING, CRASH_LOOP):
            if state in states:
                return state
        return UNHEALTHY

    async def spawn(self, count: int) -> None:
        """Run so many processes until their code is loaded. Raises the first refusal."""
        self.children = [self._make(number) for number in range(1, count + 1)]
        await together([child.spawn() for child in self.children])

    async def begin(self) -> None:
        """Start what was spawned; return when all are ready. Raises the first refusal."""
        await together([child.begin() for child in self.children])
        for child in self.children:
            self._keep(child)

    async def scale(self, count: int) -> None:
        """Have `count` instances: start what is missing, or drain the newest. Raises `MicroError` where one does not start."""
        async with self._changing:
            missing = count - len(self.children)
            if missing > 0:
                await together([self._add() for _ in range(missing)])
                await self._publish()
            elif missing < 0:
                await self._retire(self.children[missing:])

    async def restart(self) -> None:
        """Replace every instance, one after the other: each drains when its successor is ready.

        Raises `MicroError` where a successor does not start; the others go on as they were.
        """
        async with self._changing:
            for old in list(self.children):
                await self._add()
                await self._publish()
                await self._retire([old])

    async def stop(self) -> None:
        """Drain and end all of them."""
        await asyncio.gather(*(child.stop() for child in self.children))
        await self._let_go()

    async def kill(self) -> None:
        """End all of them at once. Idempotent."""
        await asyncio.gather(*(child.kill() for child in self.children))
        await self._let_go()

    async def _let_go(self) -> None:
        tasks = list(self._keeping.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keeping.clear()

    async def _add(self) -> None:
        taken = {child.description.number for child in self.children}
        child = self._make(next(number for number in itertools.count(1) if number not in taken))
        self.children.append(child)
        try:
            await child.start()
        except MicroError as error:
            raise MicroError(
                f"{child.name} did not start, and the others go on as they were: {error}"
            ) from error
        finally:
            if child.url is None:
                await child.kill()
                self.children.remove(child)
        self._keep(child)

    async def _retire(self, children: list[Child]) -> None:
        for child in children:
            child.withdrawn = True
        await self._publish()
        await asyncio.gather(*(child.stop() for child in children))
        for child in children:
            self.children.remove(child)
            task = self._keeping.pop(child)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _keep(self, child: Child) -> None:
        self._keeping[child] = asyncio.create_task(child.run(), name=f"instance {child.name}")
