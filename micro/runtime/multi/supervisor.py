"""The supervisor: every child of a stack, started in the order of what depends on what, and ended in the reverse.

It runs no user code and imports no service. What it knows of the services' code, their processes have told it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from micro.errors import MicroError, NotFound, UsageError
from micro.runtime.multi.household import together
from micro.runtime.undertaking import Undertakings
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from micro.clock import Clock
    from micro.runtime.multi.children import Child
    from micro.runtime.multi.group import Group

_log = logging.getLogger("micro.runtime.multi.supervisor")

GATEWAY = "gateway"
_MOST = 64
"""Instances of one service on one machine."""
_PEERS_LIMIT = 5.0
"""Seconds that a child gets to put a new set of peers in force."""


class Supervisor:
    """`spawn` all, `open` and `begin` all, keep `run` running; `drain`, or `kill`, at the end."""

    def __init__(
        self,
        groups: Mapping[str, Group],
        *,
        after: Mapping[str, Sequence[str]],
        fixed: Mapping[str, list[str]],
        clock: Clock,
    ) -> None:
        """`groups` by service, the gateway's among them; `after` says what each one starts after.

        `fixed` are the URLs of services that run elsewhere.
        """
        self.groups = groups
        self.clock = clock
        self._after = after
        self._fixed = fixed
        self._news = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._undertakings = Undertakings()

    @property
    def children(self) -> list[Child]:
        """Every child that there is."""
        return [child for group in self.groups.values() for child in group.children]

    @property
    def facts(self) -> dict[str, Mapping[str, Any]]:
        """What the first instance of each service has told of its code."""
        return {name: group.children[0].facts for name, group in self.groups.items() if group.children}

    def peers(self) -> dict[str, list[str]]:
        """Per service, and of the gateway, the base URLs of the instances that may get traffic now."""
        return {**self._fixed, **{name: each.urls for name, each in self.groups.items()}}

    def changed(self) -> None:
        """A child became ready, or ended: everybody is told who may get traffic now."""
        self._news.set()

    async def spawn(self, counts: Mapping[str, int]) -> None:
        """Run the processes of every group, and have them load their code. Raises the first refusal."""
        await together([group.spawn(counts.get(name, 1)) for name, group in self.groups.items()])

    async def open(self) -> None:
        """Have all of them connect to their servers, side by side. Raises the first refusal."""
        facts = self.facts
        await together([child.open(facts) for child in self.children])

    async def begin(self) -> None:
        """Start each group when those that it comes after are ready. Raises the first refusal."""
        await _in_order(self._after, lambda name: self.groups[name].begin())

    async def run(self) -> None:
        """Tell every child who may get traffic, whenever that changes. Never returns."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.publish()

    async def publish(self) -> None:
        """Return when every child that is ready knows who may get traffic now; one that doesn't answer is logged."""
        async with self._publishing:
            peers = self.peers()
            await asyncio.gather(*(self._tell(child, peers) for child in self.children if child.listens))

    async def restart(self, name: str) -> list[str]:
        """Replace the instances of one group; the names of those that run then. See `Group.restart`."""
        group = self.group(name)
        await self._undertakings.finish(group.restart())
        return [child.name for child in group.children]

    async def scale(self, name: str, count: int) -> list[str]:
        """Have so many instances; the names of those that run then. See `Group.scale`."""
        group = self.group(name)
        if not 1 <= count <= _MOST:
            raise UsageError(f"{name}={count}: give a number from 1 to {_MOST}")
        await self._undertakings.finish(group.scale(count))
        return [child.name for child in group.children]

    def group(self, name: str) -> Group:
        """The group of that name. Raises `NotFound`; `UsageError` for a service that micro does not run."""
        if name in self._fixed:
            raise UsageError(f"{name} is not run by micro: it is given by url =")
        if name not in self.groups:
            raise NotFound(f"there is no service '{name}'{did_you_mean(name, self.groups)}")
        return self.groups[name]

    async def drain(self) -> None:
        """End each group when everything that comes after it has ended."""
        before = {
            name: [each for each, first in self._after.items() if name in first] for name in self._after
        }
        await self._undertakings.close()
        await _in_order(before, lambda name: self.groups[name].stop())

    async def kill(self) -> None:
        """End whatever still runs, at once. Idempotent."""
        await self._undertakings.close()
        await asyncio.gather(*(group.kill() for group in self.groups.values()))

    async def _tell(self, child: Child, peers: dict[str, list[str]]) -> None:
        try:
            await child.ask("peers", timeout=_PEERS_LIMIT, services=peers)
        except MicroError as error:
            if child.listens:
                _log.warning("%s was not told who may get traffic: %s", child.name, error)


async def _in_order(
    after: Mapping[str, Sequence[str]], work: Callable[[str], Coroutine[Any, Any, None]]
) -> None:
    """Do the work of each name when that of all names it comes after is done. Raises the first error."""
    done = {name: asyncio.Event() for name in after}

    async def one(name: str) -> None:
        for first in after[name]:
            if first in done:
                await done[first].wait()
        await work(name)
        done[name].set()

    await together([one(name) for name in after])
