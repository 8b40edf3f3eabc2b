"""Where a process finds the stack's other services: the instances that its supervisor names, and those on other machines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.runtime.remote import Remote


class Peers:
    """Puts both into the clusters of the stack's own services."""

    def __init__(self, remotes: Mapping[str, Remote], *, probed: bool) -> None:
        """Where they are `probed`, an instance gets requests once it has answered a probe."""
        self._remotes = {name: remote for name, remote in remotes.items() if remote.own}
        self._probed = probed
        self._near: Mapping[str, list[str]] = {}
        self._far: Mapping[str, list[str]] = {}

    async def tell(self, near: Mapping[str, list[str]]) -> None:
        """These are the supervisor's. Returns when that is in force, and each new one was probed."""
        self._near = near
        new = self._apply()
        if self._probed:
            await asyncio.gather(*(remote.look(urls) for remote, urls in new))

    def found(self, far: Mapping[str, list[str]]) -> None:
        """These are elsewhere."""
        self._far = far
        self._apply()

    def count(self, name: str) -> int:
        """How many instances of a service, or workers of the gateway, are known here and elsewhere."""
        return len(self._near.get(name, ())) + len(self._far.get(name, ()))

    def _apply(self) -> list[tuple[Remote, set[str]]]:
        new = []
        for name, remote in self._remotes.items():
            cluster = remote.cluster
            before = {instance.url for instance in cluster.instances}
            urls = [*self._near.get(name, ()), *self._far.get(name, ())]
            cluster.update(urls)
            if added := {*urls} - before:
                new.append((remote, added))
        return new
