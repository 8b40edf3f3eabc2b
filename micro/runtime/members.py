"""Starts and stops the members of a stack, in order: the apps of this process, and the programs that micro runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from micro.runtime.supervise import Supervised
from micro.runtime.system import all_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from micro.runtime.programs.process import Launch
    from micro.runtime.remote import Remote
    from micro.runtime.system import Hosted, System

START_LIMIT = 30.0
"""Seconds that a program gets until its health path answers."""


class Members:
    """The members of one system. `prepare` before anything else, `start`, `work`, then `stop` and `end`."""

    def __init__(self, system: System, *, grace: float, notice: Callable[[str], None]) -> None:
        """`grace`: seconds that a member gets to end. `notice` hears what the start waits for, where it takes long."""
        self._system = system
        self._clock = system.shared.clock
        self._grace = grace
        self._notice = notice
        self._launches: dict[str, Launch] = {}
        self._probes: list[asyncio.Task[None]] = []
        self._programs: list[asyncio.Task[None]] = []

    def prepare(self) -> None:
        """Find the program of each command. Raises `ConfigurationError` where there is none."""
        shared = self._system.shared
        for name, remote in self._system.remotes.items():
            if remote.member.command is not None:
                from micro.runtime.programs.command import launch_of  # noqa: PLC0415 - loaded when first used

                env = shared.config.service_env(name)
                self._launches[name] = launch_of(remote.member, shared.stack, env=env, grace=self._grace)

    async def start(self, urls: Mapping[str, str]) -> None:
        """Start each member when those that it depends on are ready, in the order of the stack. Return when all are.

        `urls` says where the gateway and the members listen, or are to listen. Raises the first error; what was started
        then still runs.
        """
        coming: dict[str, asyncio.Task[None]] = {}
        try:
            for member in self._system.shared.stack.members:
                await _first_error(coming[name] for name in member.depends if name in coming)
                if member.name in self._system.services:
                    await self._start_app(self._system.services[member.name])
                else:
                    work = self._start_remote(self._system.remotes[member.name], urls)
                    coming[member.name] = asyncio.create_task(work, name=f"start of {member.name}")
            await _first_error(coming.values())
        finally:
            for task in coming.values():
                task.cancel()
            await asyncio.gather(*coming.values(), return_exceptions=True)

    def work(self) -> None:
        """Keep the programs running, and look after all that is on the network, in tasks of its own."""
        for name, remote in self._system.remotes.items():
            self._probes.append(self._keep(f"{name}: probes", remote.watch))
            if remote.program is not None:
                self._programs.append(self._keep(f"{name}: program", remote.program.run))

    async def stop(self) -> None:
        """Finish the events in hand, then end the members in the reverse order."""
        for task in self._probes:
            task.cancel()  # who is ended on purpose is no news
        services, remotes = self._system.services, self._system.remotes
        await all_of(hosted.instance.rest(self._grace) for hosted in services.values())
        for name in reversed(self._system.shared.stack.names):
            if name in services:
                await services[name].instance.stop()
                self._system.announcer.tell(name, "stopped")
            elif (program := remotes[name].program) is not None:
                await program.stop()

    async def end(self) -> None:
        """End whatever still runs, at once. Idempotent."""
        tasks = [*self._probes, *self._programs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        programs = [remote.program for remote in self._system.remotes.values() if remote.program is not None]
        await all_of(
            [
                *(hosted.instance.stop() for hosted in self._system.services.values()),
                *(program.kill() for program in programs),
            ]
        )

    def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(Supervised(name, work, clock=self._clock).run(), name=name)

    async def _start_app(self, hosted: Hosted) -> None:
        hosted.started = self._clock.monotonic()
        await hosted.instance.start()
        hosted.seconds += self._clock.monotonic() - hosted.started
        self._system.announcer.tell(hosted.member.name, "started")

    async def _start_remote(self, remote: Remote, urls: Mapping[str, str]) -> None:
        launch = self._launches.get(remote.member.name)
        if launch is None:
            await remote.look()
            return
        from micro.runtime.programs.command import environment  # noqa: PLC0415 - loaded when first used
        from micro.runtime.programs.program import Program  # noqa: PLC0415 - as above

        shared, name = self._system.shared, remote.member.name
        url = urls[name]
        context = {
            "MICRO_STACK": shared.stack.name,
            "MICRO_PROFILE": shared.profile.name,
            "MICRO_GATEWAY_URL": urls["gateway"],
        }
        port = int(url.rpartition(":")[2])
        env = environment(remote.member, launch.env, port=port, context=context)
        launch = replace(launch, env=env)
        program = Program(name, launch, clock=self._clock, tell=partial(self._tell, name))
        await remote.begin(program, url)
        await remote.ready(START_LIMIT, notice=self._notice)

    def _tell(self, name: str, what: str, pid: int) -> None:
        self._system.announcer.tell(name, what, pid=pid)


async def _first_error(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Await these tasks, but raise as soon as one of them fails."""
    waiting = list(tasks)
    if waiting:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
