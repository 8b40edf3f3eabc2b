"""One gateway worker, in a process of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from micro import registry
from micro.profile import GATEWAY
from micro.runtime.keys import StackKeys
from micro.runtime.parts.base import ServingPart, elsewhere
from micro.runtime.parts.peers import Peers
from micro.runtime.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from micro.config.read import Config
    from micro.runtime.parts.description import Description, Start


class GatewayPart(ServingPart):
    """One gateway worker. What it knows of the services' code, their processes have told."""

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        config = self.read()
        StackKeys(config.stack.state / "keys", clock=self.clock, environ=config.environment).load()
        _load(description)
        self._facts: Mapping[str, Mapping[str, Any]] = {}
        self._settings: Settings | None = None
        self._tells = False
        self.verbs = {
            "open": self.open,
            "health": self._health,
            "peers": self.told,
            "routes": self._routes,
            "routes.reload": self._reload,
            "stats": self._stats,
        }

    async def open(self, *, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The verb `open`: connect to the servers; nobody else needs to be there for that."""
        self._facts = facts
        self.assemble(self._configuration())
        system = self.system
        system.access_log.number(self.description.number)
        self._settings = Settings(system, choice=self.choice, read=self._configuration)
        self.peers = Peers(system.remotes, probed=True)
        if hasattr(system.shared.cache, "gateways"):
            system.shared.cache.gateways = partial(self.peers.count, GATEWAY)
        await system.open(migrate=False, ports=["cache"])
        return {}

    async def start(self, start: Start) -> None:
        """See `Part.start`."""
        if self._settings is None:
            await self.open(facts=start.facts)
        system = self.system
        self.serve(start, system.gateway, gateway=system.gateway)
        await asyncio.gather(*(remote.look() for remote in system.remotes.values() if not remote.own))
        await self.peers.tell(start.peers)
        system.board.look()
        await self.appear(start)
        self.keep("access log", system.access_log.run)
        self.keep("health", system.board.run)
        self.keep("system events", self._announce)
        for name, remote in system.remotes.items():
            self.keep(f"{name}: probes", remote.watch)

    async def close(self) -> None:
        """See `Part.close`."""
        await super().close()
        if self._tells:
            await self.system.shared.bus.close()

    def _configuration(self) -> Config:
        return elsewhere(self.read(), self._facts)

    async def _announce(self) -> None:
        """Publish what the clusters have seen. Raises where the bus is out of reach, which keeps no gateway from serving."""
        if not self._tells:
            self._tells = True
            await self.system.shared.bus.open()
        await self.system.announcer.run()

    async def _health(self) -> dict[str, Any]:
        return {"state": "healthy", "reason": "", "services": dict(self.system.board.read())}

    async def _routes(
        self, *, method: str | None = None, path: str | None = None, headers: Sequence[Sequence[str]] = ()
    ) -> dict[str, Any]:
        from micro.runtime.operations.stack import StackOperations  # noqa: PLC0415 - loaded when first used

        return await StackOperations(self.system, None).routes(method=method, path=path, headers=headers)

    async def _reload(self) -> dict[str, Any]:
        assert self._settings is not None
        return self._settings.reread()

    async def _stats(self) -> dict[str, Any]:
        clusters = {name: remote.cluster.states() for name, remote in self.system.remotes.items()}
        return {"requests": self.servers.requests(), "instances": clusters}


def _load(description: Description) -> None:
    """Import what `start` makes use of: the services load their code at the same time, and nobody waits for a gateway yet.

    What is wrong with the settings or the key has been told by now, and a driver that is missing is, too.
    """
    registry.backend_class("bus", description.bus)
    registry.backend_class("cache", description.cache)
    if registry.is_known("discovery", description.cache):
        registry.backend_class("discovery", description.cache)
    for module in ("micro.gateway.protocol", "micro.runtime.remote", "micro.runtime.server"):
        import_module(module)
