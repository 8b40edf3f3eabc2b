"""A whole stack in this process, assembled: its parts, and how they are opened and closed together."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from micro.runtime.databases import bring_up_to_date, prepare
from micro.runtime.inprocess import ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from micro.backend import Backend
    from micro.clock import Clock
    from micro.config import Config
    from micro.gateway.app import Gateway
    from micro.gateway.upstream.caller import LocalCaller
    from micro.gateway.upstream.local import LocalUpstream
    from micro.profile import Profile
    from micro.runtime.announce import Announcer
    from micro.runtime.health import HealthBoard
    from micro.runtime.instance import Instance
    from micro.runtime.keys import StackKeys
    from micro.service import Service, Verifier
    from micro.stack import Member, Stack
    from micro.store.ports import Store
    from micro.telemetry.access import AccessLog
    from micro.telemetry.metrics import Metrics

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
    """Complete and just with the chosen services, each after what it depends on."""
    clock: Clock
    backbone: Sequence[Backend]
    """Bus (after its journal) and cache, in the order in which they are opened."""
    bus: Any
    """Both `Bus` and `Log`."""
    cache: Any
    """Both `Cache` and `Window`."""
    keys: StackKeys
    upstreams: dict[str, LocalUpstream]
    caller: LocalCaller
    verifier: Verifier
    metrics: Mapping[str, Metrics]
    """Per service; they outlive a reload."""


@dataclass(kw_only=True, eq=False, repr=False)
class System:
    """Everything that `assemble` built. Construct, `open`, `close`: close works after a half-failed open."""

    shared: Shared
    services: dict[str, Hosted]
    """In the order in which they start."""
    gateway: Gateway
    access_log: AccessLog
    announcer: Announcer
    board: HealthBoard
    loaded: float
    """When the services' code began to be loaded (epoch seconds)."""
    warnings: tuple[str, ...] = ()
    _opened: list[Backend] = field(default_factory=list)

    async def open(self, *, migrate: bool = True) -> None:
        """Open every back end side by side, and bring each database up to date (without `migrate`: micro's part of it).

        Raises the first error; nothing stays open then.
        """
        stores = [self._open_store(each, migrate=migrate) for each in self.services.values()]
        try:
            await all_of([self._open_backbone(), *stores])
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close what was opened, the last first. Idempotent; a part that fails to close is logged."""
        await self.shared.caller.close()
        await self.gateway.close()
        await self.access_log.close()
        while self._opened:
            backend = self._opened.pop()
            try:
                await backend.close()
            except Exception:  # noqa: BLE001 - the others must be closed all the same
                _log.exception("%s did not close", type(backend).__name__)

    async def _open_backbone(self) -> None:
        for backend in self.shared.backbone:
            self._opened.append(backend)
            await backend.open()

    async def _open_store(self, hosted: Hosted, *, migrate: bool) -> None:
        if hosted.store is not None:
            began = self.shared.clock.monotonic()
            self._opened.append(hosted.store)
            await hosted.store.open()
            if migrate:
                await bring_up_to_date(hosted.service, hosted.store, self.shared.clock)
            else:
                await prepare(hosted.store, self.shared.clock)
            hosted.seconds = self.shared.clock.monotonic() - began


async def all_of(works: Iterable[Awaitable[object]]) -> None:
    """Await all side by side, to the end of each; then raise the first error, in the order given."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
