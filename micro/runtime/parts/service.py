"""One instance of a service, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.runtime.parts.base import ServingPart, but_the_gateways, elsewhere
from micro.runtime.parts.peers import Peers
from micro.runtime.settings import Settings

if TYPE_CHECKING:
    from micro.config.read import Config
    from micro.runtime.parts.description import Description, Start

_REQUESTS = 0.7
"""Of the time that it gets to drain, how much is for requests; events get what is left."""


class ServicePart(ServingPart):
    """One instance of a service."""

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        self.assemble(self._configuration())
        self._opened = False
        self._settings = Settings(self.system, choice=self.choice, read=self._configuration)
        self._hosted = self.system.hosted(description.service)
        service = self._hosted.service
        self.facts = {"port": service.port, "routes": list(service.routes)}
        self.peers = Peers(self.system.remotes, probed=False)
        self.verbs = {
            "open": self.open,
            "health": self._health,
            "peers": self.told,
            "routes.reload": self._reload,
            "stats": self._stats,
        }
        self.system.shared.keys.load()  # one that is no good is told now

    async def open(self, **facts: Any) -> dict[str, Any]:
        """The verb `open`: connect to the servers; nobody else needs to be there for that."""
        await self.system.open(migrate=False)
        self._opened = True
        return {}

    async def start(self, start: Start) -> None:
        """See `Part.start`."""
        if not self._opened:
            await self.open()
        self.serve(start, self._hosted.upstream.call)
        await self.peers.tell(start.peers)
        await self._hosted.instance.start()
        await self.appear(start)
        self._hosted.instance.work()

    async def drain(self, grace: float) -> None:
        """See `Part.drain`."""
        end = self.clock.monotonic() + grace
        await super().drain(grace * _REQUESTS)
        await self._hosted.instance.stop(max(0.0, end - self.clock.monotonic()))

    async def close(self) -> None:
        """See `Part.close`."""
        await self._hosted.instance.stop()
        await super().close()

    def _configuration(self) -> Config:
        return but_the_gateways(elsewhere(self.read(), {}, own=self.description.service))

    async def _reload(self) -> dict[str, Any]:
        """What a service has to do with the gateway's settings: which `Host` it answers to, and where others lie."""
        return self._settings.reread()

    async def _health(self) -> dict[str, Any]:
        well = await self._hosted.is_well()
        reason = self._hosted.instance.unready() or f"GET {self._hosted.member.health} fails"
        return {"state": "healthy", "reason": ""} if well else {"state": "unhealthy", "reason": reason}

    async def _stats(self) -> dict[str, Any]:
        events = self._hosted.instance.events
        return {
            "requests": self.servers.requests(),
            "restarts": self._hosted.instance.restarts,
            "events": None if events is None else await events.stats(),
        }
