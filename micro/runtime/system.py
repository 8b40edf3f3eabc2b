"""A whole stack in this process, assembled: its parts, and how they are opened and closed together."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from micro.errors import DatabaseMissing, NotFound
from micro.profile import PORTS
from micro.runtime.databases import bring_up_to_date, prepare, require_prepared
from micro.runtime.inprocess import ask
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence

    from micro.backend import Backend
    from micro.clock import Clock
    from micro.config.read import Config
    from micro.gateway.app import Gateway
    from micro.gateway.upstream.caller import LocalCaller
    from micro.gateway.upstream.local import LocalUpstream
    from micro.gateway.upstream.network import NetworkUpstream
    from micro.profile import Profile
    from micro.registry import Port
    from micro.runtime.announce import Announcer
    from micro.runtime.health import HealthBoard
    from micro.runtime.instance import Instance
    from micro.runtime.keys import StackKeys
    from micro.runtime.remote import Remote
    from micro.service import Service, Verifier
    from micro.stack import Member, Stack
    from micro.store.ports import Store
    from micro.telemetry.access import AccessLog
    from micro.telemetry.metrics import Metrics
    from micro.web.hosts import Hosts

_log = logging.getLogger("micro.runtime.system")


@dataclass(kw_only=True, eq=False, repr=False)
class Hosted:
    """A service's place in this process: what stays while its code is reloaded."""

    member: Member
    store: Store | None
    upstream: LocalUpstream
    instance: Instance
    reloads: int = 0
    started: float = 0.0
    """The clock's monotonic time of the last start."""
    seconds: float = 0.0
    """What the last start took."""

    @property
    def service(self) -> Service:
        """The service as it runs now."""
        return self.instance.service

    async def is_well(self) -> bool:
        """Whether it may have traffic and answers its health path."""
        return (
            self.instance.unready() is None
            and (await ask(self.upstream.call, "GET", self.member.health)).status < 400
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Shared:
    """What the services of one process have in common."""

    config: Config
    profile: Profile
    stack: Stack
    """Complete and just with the chosen members, each after what it depends on."""
    clock: Clock
    backbone: Sequence[Backend]
    """Bus (after its journal) and cache, in the order in which they are opened."""
    bus: Any
    """Both `Bus` and `Log`."""
    cache: Any
    """Both `Cache` and `Window`."""
    keys: StackKeys
    upstreams: dict[str, LocalUpstream | NetworkUpstream]
    """Of every member."""
    caller: LocalCaller
    verifier: Verifier
    hosts: Hosts
    """Answered to on the services' own ports."""
    metrics: Mapping[str, Metrics]
    """Per service; they outlive a reload."""
    process: str
    """The name of this process wherever several share something."""


@dataclass(kw_only=True, eq=False, repr=False)
class System:
    """Everything that `assemble` built. Construct, `open`, `close`: close works after a half-failed open."""

    shared: Shared
    services: dict[str, Hosted]
    """The members that are apps of this process, in the order in which they start."""
    remotes: dict[str, Remote]
    """The others: on the network, or programs of their own."""
    gateway: Gateway
    access_log: AccessLog
    announcer: Announcer
    board: HealthBoard
    loaded: float
    """When the services' code began to be loaded (epoch seconds)."""
    warnings: tuple[str, ...] = ()
    absent: set[str] = field(default_factory=set)
    """The services whose databases were found not to be there."""
    made: list[str] = field(default_factory=list)
    """The services whose databases were made."""
    _opened: list[Backend] = field(default_factory=list)

    def hosted(self, name: str) -> Hosted:
        """The service of that name in this process. Raises `NotFound`, and says so where it is a member of another kind."""
        if name in self.remotes:
            raise NotFound(
                f"{name} has no database, no handlers and no code here: it is given by command = or url ="
            )
        if name not in self.services:
            raise NotFound(f"there is no service '{name}'{did_you_mean(name, self.services)}")
        return self.services[name]

    async def open(
        self,
        *,
        migrate: bool = True,
        ports: Collection[Port] = PORTS,
        service: str | None = None,
        absent: Literal["refuse", "make", "note"] = "refuse",
    ) -> None:
        """Open the back ends of these ports side by side, and bring each database up to date.

        Without `migrate`, only micro's own part of it. A database that others may use at the same time stays as it is: one
        without micro's tables is refused. `absent` says what becomes of one that isn't there, or not all: it is refused,
        made, or noted in `absent`. With `service`, only that one's is opened.

        Raises the first error; nothing stays open then.
        """
        chosen = [
            each for name, each in self.services.items() if "store" in ports and service in {None, name}
        ]
        works = [self._open_store(each, migrate=migrate, absent=absent) for each in chosen]
        try:
            await all_of([self._open_backbone(ports), *works])
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close what was opened, the last first. Idempotent; a part that fails to close is logged."""
        await self.shared.caller.close()
        for remote in self.remotes.values():
            await remote.close()
        await self.gateway.close()
        await self.access_log.close()
        while self._opened:
            backend = self._opened.pop()
            try:
                await backend.close()
            except Exception:  # noqa: BLE001 - the others must be closed all the same
                _log.exception("%s did not close", type(backend).__name__)

    async def _open_backbone(self, ports: Collection[Port]) -> None:
        for backend in self.shared.backbone:
            if ("cache" if backend is self.shared.cache else "bus") in ports:
                self._opened.append(backend)
                await backend.open()

    async def _open_store(self, hosted: Hosted, *, migrate: bool, absent: str) -> None:
        if hosted.store is None:
            return
        began = self.shared.clock.monotonic()
        if absent == "make" and hasattr(hosted.store, "provision") and await hosted.store.provision():
            self.made.append(hosted.member.name)
        self._opened.append(hosted.store)
        try:
            await hosted.store.open()
        except DatabaseMissing:
            if absent != "note":
                raise
            self.absent.add(hosted.member.name)
            return
        await self._bring_up(hosted, hosted.store, migrate=migrate, require=absent == "refuse")
        hosted.seconds = self.shared.clock.monotonic() - began

    async def _bring_up(self, hosted: Hosted, store: Store, *, migrate: bool, require: bool) -> None:
        clock = self.shared.clock
        if store.features.shared_by_processes:
            if require and not migrate:  # a start has looked before
                await require_prepared(hosted.member.name, store)
        elif migrate:
            await bring_up_to_date(hosted.service, store, clock)
        else:
            await prepare(store, clock)


async def all_of(works: Iterable[Awaitable[object]]) -> None:
    """Await all side by side, to the end of each; then raise the first error, in the order given."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
