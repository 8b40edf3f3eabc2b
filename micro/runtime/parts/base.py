"""What all parts have in common, and what those have that serve requests."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro import registry
from micro.clock import SystemClock
from micro.config.environment import ADVERTISE
from micro.config.read import read_config
from micro.discovery.ports import Place
from micro.profile import Profile
from micro.runtime.assemble import assemble
from micro.runtime.parts.registration import Registration
from micro.runtime.settings import Choice
from micro.runtime.state import lasting_name
from micro.runtime.supervise import Supervised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from micro.clock import Clock
    from micro.config.read import Config
    from micro.gateway.app import Gateway
    from micro.runtime.multi.lifeline import Answer
    from micro.runtime.parts.description import Description, Start
    from micro.runtime.parts.peers import Peers
    from micro.runtime.system import System
    from micro.service import ASGIApp
    from micro.stack import Member, Stack

LINGER = 0.5
"""Seconds for which a client that keeps a connection may still use it when an instance ends."""


class BasePart:
    """What parts have in common: their configuration, their tasks, the system that they run."""

    def __init__(self, description: Description) -> None:
        self.facts: Mapping[str, Any] = {}
        self.verbs: Mapping[str, Answer] = {}
        self.clock: Clock = SystemClock()
        self.description = description
        name = lasting_name(description.instance, Path(description.directory))
        self.choice = Choice(names=description.names, depends=description.depends, instance=name)
        self._system: System | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def system(self) -> System:
        """What it runs, once that is assembled."""
        assert self._system is not None
        return self._system

    def read(self) -> Config:
        """The configuration, as the supervisor has read it but for what was edited since. Raises `ConfigurationError`."""
        return read_config(Path(self.description.directory), os.environ, flags=self.description.flags)

    @property
    def profile(self) -> Profile:
        """With the description's back ends."""
        description = self.description
        return Profile(
            name=description.profile,
            runner="multi",
            store=description.store,
            bus=description.bus,
            cache=description.cache,
        )

    def assemble(self, config: Config) -> None:
        """Make `system` of the description's back ends and this configuration. Raises as `assemble` does."""
        self._system = assemble(config, self.profile, clock=self.clock, choice=self.choice)

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run it until the end, again where it fails."""
        supervised = Supervised(name, work, clock=self.clock)
        self._tasks.append(asyncio.create_task(supervised.run(), name=name))

    async def run(self) -> None:
        """See `Part.run`."""
        await asyncio.Event().wait()

    async def drain(self, grace: float) -> None:
        """See `Part.drain`."""

    async def close(self) -> None:
        """See `Part.close`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._system is not None:
            await self._system.close()


class ServingPart(BasePart):
    """A part with listeners and peers."""

    peers: Peers
    _registration: Registration | None = None

    def serve(self, start: Start, app: ASGIApp, *, gateway: Gateway | None = None) -> None:
        """Have an app ready for both sockets; it answers from `appear` on."""
        # Loaded here: uvicorn is for parts that serve.
        from micro.runtime.server import Servers  # noqa: PLC0415 - as said above

        self.servers = Servers(clock=self.clock, spec=self.system.shared.stack.gateway)
        for sock in (start.public, start.private):
            if sock is not None:
                self.servers.add(app, sock, gateway=gateway, shared=sock is start.public)

    async def appear(self, start: Start) -> None:
        """Answer, and follow who else does."""
        await self.servers.start()
        self.keep("http", self.servers.run)
        if registry.is_known("discovery", self.system.shared.profile.cache):
            await self._enter(start.private.getsockname()[1])

    async def told(self, *, services: dict[str, list[str]]) -> dict[str, Any]:
        """The verb `peers`: these are the supervisor's instances that may get traffic, from the answer on."""
        await self.peers.tell(services)
        return {}

    async def drain(self, grace: float) -> None:
        """See `Part.drain`."""
        if self._registration is not None:
            await self._registration.withdraw()
        await self.servers.drain(grace, linger=LINGER)

    async def close(self) -> None:
        """See `Part.close`."""
        if hasattr(self, "servers"):
            await self.servers.abort()
        await super().close()
        if self._registration is not None:
            await self._registration.close()

    async def _enter(self, port: int) -> None:
        """Tell other machines of this process, and be told of theirs, by the server that has the cache."""
        shared, description = self.system.shared, self.description
        stack = shared.keys.identity(shared.stack.name)
        discovery = registry.create("discovery", shared.profile.cache, clock=self.clock, stack=stack)
        host = os.environ.get(ADVERTISE) or "127.0.0.1"
        own = Place(
            description.service,
            description.instance,
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
            f"{socket.gethostname()}/{description.origin}",
        )
        self._registration = Registration(discovery, own=own, clock=self.clock, found=self.peers.found)
        await self._registration.open()
        self.keep("discovery", self._registration.run)


def elsewhere(config: Config, facts: Mapping[str, Mapping[str, Any]], *, own: str = "") -> Config:
    """The configuration with every service but `own` in processes of its own, each with the routes that its code declares."""

    def moved(member: Member) -> Member:
        if member.name == own or member.url is not None:
            return member
        routes = member.routes or tuple(facts.get(member.name, {}).get("routes", ()))
        return replace(member, service=None, app=None, url=(), port=None, env={}, routes=routes)

    return _with(config, members=tuple(map(moved, config.stack.members)))


def but_the_gateways(config: Config) -> Config:
    """The configuration without the code that only gateways run."""
    gateway = config.stack.gateway
    routes = tuple(replace(route, policies=(), middleware=()) for route in gateway.routes)
    return _with(config, gateway=replace(gateway, routes=routes, policies=(), middleware=()))


def _with(config: Config, **changes: Any) -> Config:
    stack: Stack = replace(config.stack, **changes)
    return replace(config, stack=stack)
