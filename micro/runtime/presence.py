"""What a running stack shows of itself: the control socket, the record that says where it is, the report of its start.

Loaded when the stack answers already.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from micro.clock import rfc3339
from micro.runtime.control import ControlServer
from micro.runtime.operations import Live, verbs_of
from micro.runtime.report import Report, Started, not_guaranteed
from micro.runtime.state import RunRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from micro.runtime.options import RunnerOptions
    from micro.runtime.system import System


class Presence:
    """Construct, `open`, `close`. `urls` are the base URLs of the gateway and of the services' own ports, by name."""

    def __init__(
        self,
        system: System,
        options: RunnerOptions,
        *,
        urls: Mapping[str, str],
        reload: Callable[[Collection[str]], Awaitable[dict[str, Any]]],
        reload_routes: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._system = system
        self._options = options
        self._urls = urls
        self._clock = system.shared.clock
        live = Live(
            urls=urls,
            since=self._clock.monotonic(),
            stop=options.stop.ask,
            reload=reload,
            reload_routes=reload_routes,
        )
        self._control = ControlServer(options.folder.socket_path(), verbs_of(system, live))

    async def open(self) -> None:
        """Listen for commands, then write down where. Raises `ConfigurationError`."""
        await self._control.open()
        shared = self._system.shared
        record = RunRecord(
            pid=os.getpid(),
            socket=str(self._control.path),
            stack=shared.stack.name,
            profile=shared.profile.name,
            started_at=rfc3339(self._clock.now()),
            gateway=self._urls["gateway"],
            services={name: url for name, url in self._urls.items() if name != "gateway"},
            infra=shared.profile.found,
        )
        self._options.folder.publish(record)

    async def close(self) -> None:
        """Cancel every verb in progress. Idempotent."""
        await self._control.close()

    def report(self) -> Report:
        """What runs where, in how long, and what to know about it."""
        shared, services, remotes = self._system.shared, self._system.services, self._system.remotes
        stores = [each.store.features for each in services.values() if each.store is not None]
        return Report(
            stack=shared.stack.name,
            profile=shared.profile.name,
            pid=os.getpid(),
            gateway=self._urls["gateway"],
            services=tuple(
                Started(
                    name=name,
                    url=self._urls.get(name, ""),
                    health=self._system.board.verdicts[name],
                    seconds=round((services.get(name) or remotes[name]).seconds, 4),
                )
                for name in shared.stack.names
            ),
            seconds=round(self._clock.monotonic() - self._options.began, 4),
            reload=self._options.reload,
            not_guaranteed=tuple(not_guaranteed(stores, shared.bus.features, shared.cache.features)),
            warnings=(*self._system.warnings, *self._sqlite()),
        )

    def _sqlite(self) -> Iterator[str]:
        if self._system.shared.profile.store.startswith("sqlite:"):
            # Loaded where it is used, and then by the store already.
            from micro.store.sqlite_version import library_warning  # noqa: PLC0415 - as said above

            if warning := library_warning():
                yield warning
