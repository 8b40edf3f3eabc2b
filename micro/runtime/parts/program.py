"""One instance of a program that is no Python app of this stack: a process that looks after another."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from micro.errors import MicroError
from micro.runtime.members import Members
from micro.runtime.parts.base import LINGER, BasePart, but_the_gateways

if TYPE_CHECKING:
    from micro.runtime.parts.description import Description, Start
    from micro.runtime.programs.program import Program
    from micro.runtime.remote import Remote

_log = logging.getLogger("micro.runtime.programs.program")


class ProgramPart(BasePart):
    """Runs the program of a member with `command`. It ends when its program ends, and is started again with it.

    The program listens where peers look for this instance. On the service's public port this process listens, as all
    instances do, and passes on what comes.
    """

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        config = self.read()
        member = self.choice.of(config.stack).member(description.service)
        self.choice = replace(self.choice, names=(member.name,), depends=False)
        self.assemble(but_the_gateways(config))
        self._members = Members(self.system, grace=description.grace, notice=_log.warning)
        self._members.prepare()
        self.facts = {"port": member.port, "routes": list(member.routes)}
        self.verbs = {"health": self._health, "routes.reload": self._reload, "stats": self._stats}

    @property
    def _remote(self) -> Remote:
        return self.system.remotes[self.description.service]

    @property
    def _program(self) -> Program:
        program = self._remote.program
        assert program is not None  # it was started
        return program

    async def start(self, start: Start) -> None:
        """See `Part.start`."""
        from micro.runtime.server import Servers  # noqa: PLC0415 - loaded by parts that serve

        port = start.private.getsockname()[1]
        start.private.close()
        self.servers = Servers(clock=self.clock, spec=self.system.shared.stack.gateway)
        if start.public is not None:
            self.servers.add(self._remote.upstream.call, start.public)
        urls = {self.description.service: f"http://127.0.0.1:{port}", "gateway": start.gateway}
        await self._members.start(urls)
        await self.servers.start()
        self.keep("http", self.servers.run)

    async def run(self) -> None:
        """See `Part.run`."""
        raise MicroError(f"{self.description.instance} {await self._program.ended()}")

    async def drain(self, grace: float) -> None:
        """See `Part.drain`. The program may get SIGTERM in the middle of a request, so it is given the time to finish some."""
        await asyncio.gather(self.servers.drain(grace, linger=LINGER), self.clock.sleep(LINGER))
        await self._members.stop()

    async def close(self) -> None:
        """See `Part.close`."""
        if hasattr(self, "servers"):
            await self.servers.abort()
        await self._members.end()
        await super().close()

    async def _health(self) -> dict[str, Any]:
        await self._remote.look()
        [instance] = self._remote.cluster.instances
        reason = f"GET {self._remote.member.health}: {instance.reason}" if instance.reason else ""
        return {"state": self._remote.verdict(), "reason": reason, "pid": self._program.pid}

    async def _reload(self) -> dict[str, Any]:
        """The gateway's settings are nothing to a program."""
        return {}

    async def _stats(self) -> dict[str, Any]:
        return {"requests": self.servers.requests()}
