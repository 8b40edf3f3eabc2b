"""The runner `multi`: a process for each service instance and each gateway worker, and this one to look after them.

In this order: bind the ports that are known, run every process and have it load its code, bind the other ports, start each
service when those that it depends on are ready, the gateway last, say so. At the end the other way round.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from micro.config.load import load_stack
from micro.ids import new_id
from micro.runtime.multi.children import Child
from micro.runtime.multi.forks import Forks
from micro.runtime.multi.group import Group
from micro.runtime.multi.household import Household
from micro.runtime.multi.leftovers import Lock
from micro.runtime.multi.presence import MultiPresence
from micro.runtime.multi.relay import Relay
from micro.runtime.multi.supervisor import GATEWAY, Supervisor
from micro.runtime.parts.description import Description
from micro.runtime.sockets import base_url, listen, unbound
from micro.runtime.stop import completes
from micro.runtime.supervise import Supervised
from micro.service import Service
from micro.telemetry.logs import offer

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from micro.clock import Clock
    from micro.config.read import Config
    from micro.profile import Profile
    from micro.runtime.options import RunnerOptions
    from micro.stack import Stack

_log = logging.getLogger("micro.runtime.multi.runner")

GRACE = 10.0
"""Seconds that requests and events in hand get when an instance stops."""
LOOPBACK = "127.0.0.1"
HELPER = "operations"
PREFLIGHT = "preflight"
BUILD = "micro.runtime.parts.build:build"


class MultiRunner:
    """Runs one stack until it is asked to stop."""

    def __init__(
        self, config: Config, profile: Profile, *, options: RunnerOptions, clock: Clock, build: str = BUILD
    ) -> None:
        """`build` names the function that makes the part of each child (see `micro.runtime.parts.description`)."""
        self._config, self._profile, self._options, self._clock = config, profile, options, clock
        self._build = build
        self._origin = new_id(clock)
        self._stack = options.choice.of(config.stack)
        self._lock = Lock(options.folder.path, clock=clock)
        self._forks = options.forks or Forks.of(profile)
        self._sockets: dict[str, socket.socket] = {}
        self._urls: dict[str, str] = {}
        names = [member.name for member in self._stack.members if not member.url]
        self.supervisor = Supervisor(
            {name: self._group(name) for name in (*names, *self._public(GATEWAY))},
            after={
                **{name: self._stack.member(name).depends for name in names},
                **dict.fromkeys(self._public(GATEWAY), names),
            },
            fixed={each.name: list(each.url) for each in self._stack.members if each.url},
            clock=clock,
        )
        self._control = options.folder.socket_path()
        self._relay = Relay(partial(self._child, HELPER, 1), self._control.with_suffix(".ops"))
        self._presence: MultiPresence | None = None
        self._looking: Child | None = None
        """What looks at the servers, while it does."""
        self._reread = asyncio.Event()
        """Whether to read the configuration again."""
        self._tasks: list[asyncio.Task[None]] = []

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
        """Have the gateway workers read the configuration again, and show what came of it."""
        self._reread.set()

    async def _start(self) -> None:
        notice = self._options.observer.notice
        await self._lock.acquire(notice)
        gateway = self._stack.gateway
        for name in self._public(*self.supervisor.groups):
            self._sockets[name] = unbound(gateway.host if name == GATEWAY else LOOPBACK)
        self._bind(self._stack)
        counts = {name: self._profile.replicas_of(name) for name in self.supervisor.groups}
        self._forks.start()
        self._keep("fork server", partial(self._forks.run, self._clock))
        looking = self._looking = self._child(PREFLIGHT, 1)
        spawning = asyncio.create_task(self.supervisor.spawn(counts))
        try:
            # What is wrong with a server is said rather than what comes of it in each process.
            seen = await self._preflight(looking)
            await spawning
        finally:
            spawning.cancel()
            await asyncio.gather(spawning, return_exceptions=True)
        self._bind(self._completed())
        await self.supervisor.open()
        await self.supervisor.begin()
        self._keep("peers", self.supervisor.run)
        await self._appear(seen)
        self._tasks.append(asyncio.create_task(looking.kill(), name="end of the preflight"))

    async def _preflight(self, looking: Child) -> dict[str, Sequence[str]]:
        """Have a process look at the services' code and the servers: what to know. Raises what keeps the stack from starting."""
        await looking.spawn()
        answer = await looking.demand("check", timeout=None, migrate=self._options.migrate)
        for line in answer["told"]:
            self._options.tell(line)
        return {"warnings": looking.facts["warnings"], "not_guaranteed": answer["not_guaranteed"]}

    def _public(self, *names: str) -> tuple[str, ...]:
        """Those of these that have a public port here."""
        return names if self._options.choice.gateway else ()

    def _bind(self, stack: Stack) -> None:
        """Listen wherever the port is known and nobody listens yet."""
        gateway = stack.gateway
        wanted = [
            (GATEWAY, gateway.host, gateway.port, "choose another with --port, or set port under [gateway]")
        ]
        wanted += [
            (each.name, LOOPBACK, each.port, f"set another port under [services.{each.name}]")
            for each in stack.members
            if each.port is not None and not each.url
        ]
        for name, host, port, hint in wanted:
            if name in self._sockets and name not in self._urls:
                listen(self._sockets[name], name, host=host, port=port, hint=f"{hint} in micro.toml")
                self._urls[name] = base_url(self._sockets[name])

    def _completed(self) -> Stack:
        """The stack with the ports and routes that only the services' code declares. Raises `ConfigurationError`."""
        told = self.supervisor.facts
        declared = {
            member.name: Service(
                member.name,
                routes=member.routes or tuple(told[member.name].get("routes", ())),
                port=told[member.name].get("port"),
            )
            for member in self._stack.members
            if not member.url
        }
        return load_stack(self._stack, declared).stack

    @cached_property
    def _house(self) -> Household:
        """Made when the lock is held, which every child is to hold."""
        return Household(
            clock=self._clock,
            folder=self._forks.folder,
            env=self._forks.env,
            forks=self._forks,
            changed=self._changed,
            start=self._words,
            show=offer,
            lock=self._lock.fd,
        )

    def _words(self) -> Mapping[str, Any]:
        supervisor = self.supervisor
        return {
            "gateway": self._urls.get(GATEWAY, ""),
            "urls": {name: url for name, url in self._urls.items() if name != GATEWAY},
            "peers": supervisor.peers(),
            "facts": supervisor.facts,
        }

    def _group(self, name: str) -> Group:
        return Group(name, make=partial(self._child, name), publish=self._publish)

    async def _publish(self) -> None:
        await self.supervisor.publish()

    def _child(self, name: str, number: int) -> Child:
        profile, choice = self._profile, self._options.choice
        commands = {member.name for member in self._stack.members if member.command}
        role = name if name in {GATEWAY, HELPER, PREFLIGHT} else "program" if name in commands else "service"
        description = Description(
            role=role,  # type: ignore[arg-type] # one of the five
            service=name,
            number=number,
            directory=str(self._stack.root),
            profile=profile.name,
            store=profile.store,
            bus=profile.bus,
            cache=profile.cache,
            replicas=dict(profile.replicas),
            flags={"gateway.port": self._stack.gateway.port},
            names=choice.names,
            depends=choice.depends,
            logs=str(self._options.folder.logs),
            level=logging.getLevelName(logging.getLogger().level).lower(),
            grace=GRACE,
            control=str(self._control.with_suffix(".ops")) if name == HELPER else "",
            build=self._build,
            origin=self._origin,
        )
        return Child(description, self._house, public=self._sockets.get(name))

    def _changed(self, child: Child, what: str) -> None:
        self.supervisor.changed()
        helper = self._relay.helper
        children = [*self.supervisor.children, *([helper] if helper is not None else [])]
        self._lock.note({each.pid for each in (*children, child) if each.pid is not None})
        if self._presence is not None:
            self._presence.tell(child, what)

    async def _appear(self, seen: Mapping[str, Sequence[str]]) -> None:
        self._presence = MultiPresence(
            self._config,
            self._profile,
            options=self._options,
            supervisor=self.supervisor,
            relay=self._relay,
            place=(self._control, self._urls),
        )
        await self._presence.open()
        self._options.observer.ready(self._presence.report(**seen))
        self._keep("system events", self._presence.announce)
        self._keep("reread", partial(self._follow, self._presence))
        gc.freeze()  # what has come to stay is not looked at again
        gc.enable()

    async def _follow(self, presence: MultiPresence) -> None:
        while True:
            await self._reread.wait()
            self._reread.clear()
            await presence.reread()

    def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        supervised = Supervised(name, work, clock=self._clock)
        self._tasks.append(asyncio.create_task(supervised.run(), name=name))

    async def _drain(self) -> None:
        await self._relay.stop()
        await self.supervisor.drain()

    async def _close(self) -> None:
        """Leave nothing behind, wherever start or drain had got to."""
        if self._looking is not None:
            await self._looking.kill()
        await self.supervisor.kill()
        await self._relay.kill()
        if self._presence is not None:
            await self._presence.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._forks.close()
        for sock in self._sockets.values():
            sock.close()
        self._lock.release()
