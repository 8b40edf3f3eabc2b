"""What a stack in many processes shows of itself: the control socket, its record, the report of its start, `system.events`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from micro import registry
from micro.clock import rfc3339
from micro.errors import MicroError
from micro.runtime.announce import Announcer
from micro.runtime.control import ControlServer
from micro.runtime.multi.operations import SupervisedOperations
from micro.runtime.multi.supervisor import GATEWAY
from micro.runtime.report import Report, Started
from micro.runtime.state import RunRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from micro.config.read import Config
    from micro.profile import Profile
    from micro.runtime.multi.children import Child
    from micro.runtime.multi.relay import Relay
    from micro.runtime.multi.supervisor import Supervisor
    from micro.runtime.options import RunnerOptions

_LAST_WORDS = 2.0
"""Seconds to publish what is still to be told at the end."""
_TOLD = frozenset({"started", "stopped", "healthy", "unhealthy"})


class MultiPresence:
    """Construct, `open`, keep `announce` running, `close`."""

    def __init__(
        self,
        config: Config,
        profile: Profile,
        *,
        options: RunnerOptions,
        supervisor: Supervisor,
        relay: Relay,
        place: tuple[Path, Mapping[str, str]],
    ) -> None:
        """`place`: the control socket's path, and the public base URLs by name."""
        self._config, self._profile, self._options = config, profile, options
        self._supervisor = supervisor
        path, self._urls = place
        self._clock = clock = supervisor.clock
        self._stack = options.choice.of(config.stack)
        self._elsewhere = {each.name: each.url for each in self._stack.members if each.url}
        self._announcer = Announcer(None, clock=clock)
        self._operations = SupervisedOperations(
            supervisor, urls=self._urls, elsewhere=self._elsewhere, stop=options.stop.ask, clock=clock
        )
        self._control = ControlServer(path, self._operations.verbs() | relay.verbs())

    async def open(self) -> None:
        """Listen for commands, then write down where. Raises `ConfigurationError`."""
        await self._control.open()
        record = RunRecord(
            pid=os.getpid(),
            socket=str(self._control.path),
            stack=self._stack.name,
            profile=self._profile.name,
            started_at=rfc3339(self._clock.now()),
            gateway=self._urls.get(GATEWAY, ""),
            services={
                **{name: url for name, url in self._urls.items() if name != GATEWAY},
                **{name: urls[0] for name, urls in self._elsewhere.items()},
            },
            infra=self._profile.found,
        )
        self._options.folder.publish(record)
        for child in self._supervisor.children:
            self.tell(child, "started")

    def tell(self, child: Child, what: str) -> None:
        """Queue an event about an instance."""
        if what in _TOLD and child.service in self._supervisor.groups:
            self._announcer.tell(child.service, what, pid=child.last_pid, instance=child.name)

    async def announce(self) -> None:
        """Publish what is queued, as it comes. Never returns; raises where the bus is out of reach."""
        if self._announcer.bus is None:
            url = self._profile.bus
            await asyncio.to_thread(registry.backend_class, "bus", url)  # a driver takes a while to import
            bus = registry.create("bus", url, clock=self._clock)
            await bus.open()
            self._announcer.bus = bus
        await self._announcer.run()

    async def reread(self) -> None:
        """Have the gateway workers read the configuration again, and show what came of it."""
        try:
            notes = (await self._operations.reload_routes())["notes"]
        except MicroError as error:
            notes = [f"the settings stay as they were: {error}"]
        for note in notes:
            self._options.observer.notice(note)

    async def close(self) -> None:
        """Publish the last of it, and close. Idempotent."""
        await self._control.close()
        if (bus := self._announcer.bus) is not None:
            try:
                async with asyncio.timeout(_LAST_WORDS):
                    await self._announcer.flush()
            except TimeoutError:
                pass  # best effort, and said so
            finally:
                self._announcer.bus = None
                await bus.close()

    def _url(self, name: str) -> str:
        """Where a service answers: on its public port, elsewhere, or just on the ports of its instances."""
        known = self._urls.get(name) or next(iter(self._elsewhere.get(name, ())), "")
        return known or next(iter(self._supervisor.groups[name].urls), "")

    def report(self, *, warnings: Sequence[str], not_guaranteed: Sequence[str]) -> Report:
        """What runs where, in how long, and what to know about it: what was found besides, too."""
        verdicts = self._operations.verdicts()
        groups = self._supervisor.groups
        return Report(
            stack=self._stack.name,
            profile=self._profile.name,
            pid=os.getpid(),
            gateway=self._urls.get(GATEWAY, ""),
            services=tuple(
                Started(
                    name=name,
                    url=self._url(name),
                    health=verdicts[name],
                    seconds=max((each.seconds for each in groups[name].children), default=0.0)
                    if name in groups
                    else 0.0,
                )
                for name in self._stack.names
            ),
            seconds=round(self._clock.monotonic() - self._options.began, 4),
            reload=False,
            not_guaranteed=tuple(not_guaranteed),
            warnings=(*self._config.warnings, *warnings),
        )
