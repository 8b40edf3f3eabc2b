"""The runner `single`: gateway and services in one process and one event loop, each on a port of its own.

In this order: bind every port, open the back ends, start the members, answer, begin to work, say so. At the end: stop
accepting, answer what is in flight, finish the events in hand, end the members in the reverse order, close the rest.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import ExitStack
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from micro.runtime.members import Members
from micro.runtime.server import Servers
from micro.runtime.settings import Settings
from micro.runtime.sockets import base_url, bind
from micro.runtime.stop import completes
from micro.runtime.supervise import Supervised
from micro.runtime.system import all_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Collection

    from micro.runtime.options import RunnerOptions
    from micro.runtime.presence import Presence
    from micro.runtime.reload import Reloader
    from micro.runtime.system import System

_log = logging.getLogger("micro.runtime.single")

GRACE = 10.0
"""Seconds that requests, and then events, in hand get when the stack stops."""
_LINGER = 0.5
"""Seconds for which a client that keeps a connection may still use it: its next request may be on its way."""
_HURRY = 3.0
"""Seconds that the services get to end after a second request to stop, or after a failed start."""
LOOPBACK = "127.0.0.1"
_RELOAD = "reload"


class SingleRunner:
    """Runs one assembled system until it is asked to stop."""

    def __init__(self, system: System, options: RunnerOptions) -> None:
        self._system = system
        self._options = options
        self._clock = system.shared.clock
        self._servers = Servers(clock=self._clock, spec=system.shared.stack.gateway)
        self._members = Members(system, grace=GRACE, notice=options.observer.notice)
        self._sockets: dict[str, socket.socket] = {}
        self._urls: dict[str, str] = {}
        self._presence: Presence | None = None
        self._reloader: Reloader | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Start, work, drain. Returns when everything is closed; raises what kept the stack from starting."""
        stop = self._options.stop
        try:
            started = await completes(self._start(), unless=stop.asked)
            await stop.asked.wait()
            self._options.observer.stopping()
            if started:
                await completes(self._drain(), unless=stop.hurried)
        finally:
            await self._close()

    def reread(self) -> None:
        """Read the configuration again, put in force what can be, and show what came of it."""
        self._settings.follow(self._options.observer.notice)

    async def _start(self) -> None:
        self._members.prepare()
        self._bind()
        await self._system.open()
        await self._members.start(self._urls)
        self._members.work()
        await self._system.board.check()
        await self._servers.start()
        for hosted in self._system.services.values():
            hosted.instance.work()
        await self._appear()
        self._keep_running()
        gc.freeze()  # what has come to stay is not looked at again
        gc.enable()

    def _bind(self) -> None:
        gateway = self._system.shared.stack.gateway
        hint = "choose another with --port, or set port under [gateway] in micro.toml"
        self._sockets["gateway"] = bind("gateway", gateway.host, gateway.port, hint=hint)
        self._servers.add(self._system.gateway, self._sockets["gateway"], gateway=self._system.gateway)
        for name, hosted in self._system.services.items():
            port = hosted.member.port or 0  # loading has given each one a port
            hint = f"set another port under [services.{name}] in micro.toml"
            self._sockets[name] = bind(name, LOOPBACK, port, hint=hint)
            self._servers.add(hosted.upstream.call, self._sockets[name])
        self._urls |= {name: base_url(sock) for name, sock in self._sockets.items()}
        self._reserve()

    def _reserve(self) -> None:
        """Find out where the members listen that are not of this process, and that their ports are free."""
        with ExitStack() as held:
            for name, remote in self._system.remotes.items():
                if remote.member.url:
                    self._urls[name] = remote.member.url[0]
                    continue
                hint = f"set another port under [services.{name}] in micro.toml"
                sock = held.enter_context(bind(name, LOOPBACK, remote.member.port or 0, hint=hint))
                self._urls[name] = base_url(sock)

    async def _appear(self) -> None:
        # In a thread, because requests are answered already.
        module = await asyncio.to_thread(import_module, "micro.runtime.presence")
        presence: Presence = module.Presence(
            self._system,
            self._options,
            urls=self._urls,
            reload=self._reload,
            reload_routes=self._reload_routes,
        )
        self._presence = presence
        await presence.open()
        self._options.observer.ready(presence.report())

    def _keep_running(self) -> None:
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "http": self._servers.run,
            "health": self._system.board.run,
            "access log": self._system.access_log.run,
            "system events": self._system.announcer.run,
        }
        if self._options.reload:
            works[_RELOAD] = self._watch
        for name, work in works.items():
            supervised = Supervised(name, work, clock=self._clock)
            self._tasks[name] = asyncio.create_task(supervised.run(), name=name)

    @cached_property
    def _settings(self) -> Settings:
        return Settings(self._system, choice=self._options.choice, read=self._options.read)

    def _reloading(self) -> Reloader:
        from micro.runtime.reload import Reloader  # noqa: PLC0415 - loaded when first used, after the start

        if self._reloader is None:
            self._reloader = Reloader(self._system, self._settings, self._options.observer.notice)
        return self._reloader

    async def _reload(self, services: Collection[str]) -> dict[str, Any]:
        return await self._reloading().reload(services)

    async def _reload_routes(self) -> dict[str, Any]:
        return self._settings.reread()

    async def _watch(self) -> None:
        from micro.runtime.watch import Watcher  # noqa: PLC0415 - loaded when first used, after the start

        notice = self._options.observer.notice
        watcher = Watcher(self._system, reloader=self._reloading(), settings=self._settings, notice=notice)
        await watcher.run()

    async def _drain(self) -> None:
        if _RELOAD in self._tasks:
            self._tasks[_RELOAD].cancel()
        cut_off = await self._servers.drain(GRACE, linger=_LINGER)
        if cut_off:
            _log.warning("%d connections were cut off after %g s", cut_off, GRACE)
        if self._reloader is not None:
            await self._reloader.close()
        await self._members.stop()
        await self._system.announcer.flush()

    async def _close(self) -> None:
        """Leave nothing behind, wherever start or drain had got to."""
        if self._presence is not None:
            await self._presence.close()
        await self._servers.abort()
        ends = [self._members.end()]
        if self._reloader is not None:
            ends.append(self._reloader.close())
        try:
            async with asyncio.timeout(_HURRY):
                await all_of(ends)
        except TimeoutError:
            _log.warning("the services did not end within %g s", _HURRY)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._system.close()
