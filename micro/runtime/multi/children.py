"""One child of the supervisor: an instance that is to run until it is stopped, started again whenever it ends.

Its process is `micro.runtime.multi.worker`, in a group of its own that ends with it and with us (see `micro.runtime.programs.process`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import CallError, ConfigurationError, MicroError
from micro.runtime.health import HEALTHY, STARTING, UNHEALTHY
from micro.runtime.multi.conversation import Conversation
from micro.runtime.programs.output import Output
from micro.runtime.programs.process import Launch, Process
from micro.runtime.supervise import restart_wait
from micro.telemetry.logs import MARK, service_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.runtime.multi.household import Household
    from micro.runtime.parts.description import Description

_log = logging.getLogger("micro.runtime.multi.children")

CRASH_LOOP, STOPPING = "crash-loop", "stopping"
KILL_AFTER = 15.0
"""Seconds from SIGTERM to SIGKILL: for requests and events in hand, and to close what is open."""
START_LIMIT = 60.0
"""Seconds that an instance gets to load its code, and again to become ready."""
SETTLED = 10.0
"""Seconds for which an instance must have been ready for its end not to count as a failed start."""
_LOOP = 3
"""Ends in a row of an instance that had not settled: a crash loop."""
_LOOK = 2.0
"""Seconds between two questions about health."""
_PATIENCE = 5.0
"""Seconds that a well process needs at most to answer one."""
_SILENT = 6
"""Questions about health in a row without an answer: it hangs, and is ended, to be started again."""
_KILLED = 128 + 9


class Child:
    """One instance. `spawn` and `begin` (or `start`, both), then keep `run` running in a task; `stop` or `kill` at the end."""

    def __init__(
        self, description: Description, household: Household, *, public: socket.socket | None = None
    ) -> None:
        """`public`: the socket that it shares with the other instances; bound before it begins."""
        self.description = description
        self.name = description.instance
        self.service = description.service
        self.restarts = 0
        self.facts: Mapping[str, Any] = {}
        self.last_pid: int | None = None
        """Of its process, or of the one that has ended."""
        self.port: int | None = None
        """Of its private socket, while it is ready."""
        self.began = 0.0
        """The clock's monotonic time of its latest start."""
        self.seconds = 0.0
        """What that start took, of the part's own."""
        self.report: Mapping[str, Any] = {}
        """Its latest answer about its health."""
        self.withdrawn = False
        """Gets no new traffic, as it is to be stopped."""
        self._house = household
        self._clock = household.clock
        self._public = public
        self._logger = service_logger(description.service)
        self._output = Output(self._wrote, clock=self._clock)
        self._talk: Conversation | None = None
        """With its process, from the moment that this is to run."""
        self._looking: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._ready_at: float | None = None
        self._opening = 0.0
        self._health = HEALTHY
        self._failures = 0
        self._last = ""
        """The latest line that it wrote and that is in no log."""

    @property
    def pid(self) -> int | None:
        """Of its process, where it runs."""
        return None if self._talk is None else self._talk.process.pid or None

    @property
    def url(self) -> str | None:
        """Where peers find it; nothing while it should get no traffic."""
        serving = self._ready_at is not None and not self.withdrawn and not self._stopping.is_set()
        return f"http://127.0.0.1:{self.port}" if serving else None

    @property
    def listens(self) -> bool:
        """Whether it can be told something: it is ready, and was not asked to end."""
        return self.port is not None and not self._stopping.is_set()

    @property
    def state(self) -> str:
        """`starting`, `healthy`, `unhealthy`, `crash-loop` or `stopping`."""
        if self._stopping.is_set() or self.withdrawn:
            return STOPPING
        if self._ready_at is not None:
            return self._health
        if self._failures >= _LOOP:
            return CRASH_LOOP
        return STARTING if self._talk is not None or not self._failures else UNHEALTHY

    async def start(self) -> None:
        """Run it until it is ready. Raises as `spawn` and `begin` do."""
        await self.spawn()
        await self.begin()

    async def spawn(self) -> None:
        """Run its process until its code is loaded, and `facts` are known.

        Raises `ConfigurationError` with the reason where it refuses or ends; nothing of it runs then.
        """
        if self._stopping.is_set():
            raise ConfigurationError(f"{self.name} is to end")
        self.began = self._clock.monotonic()
        self._last, self.report, self._opening = "", {}, 0.0
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise MicroError(f"can't run {self.name}: {error.strerror}") from error
        held = [self._public.fileno()] if self._public is not None else []
        held += [] if self._house.lock is None else [self._house.lock]
        launch = Launch(
            command=(*self._house.command, str(theirs.fileno()), self.name),
            env=self._house.env,
            folder=self._house.folder,
            grace=KILL_AFTER,
            fds=(theirs.fileno(), *held),
        )
        process = Process(launch, self._output, forks=self._house.forks)
        # Known from here on, so that whoever wants it ended finds it.
        talk = self._talk = Conversation(self.name, ours, process, last=lambda: self._last)
        process.begin()
        try:
            await talk.open()
            await process.start()
        except MicroError:
            await self._gone(talk)
            raise
        finally:
            theirs.close()
        self.last_pid = process.pid
        talk.hold()
        self._house.changed(self, "spawned")
        talk.say("describe", **msgspec.to_builtins(self.description))
        self.facts = (await self._told(talk, "built", "load its code"))["facts"]

    async def open(self, facts: Mapping[str, Any]) -> None:
        """Have it connect to what is no service of the stack, so that its start is a short one. Raises as `demand` does."""
        began = self._clock.monotonic()
        await self.demand("open", timeout=START_LIMIT, facts=facts)
        self._opening = self._clock.monotonic() - began

    async def demand(self, verb: str, *, timeout: float | None, **args: Any) -> dict[str, Any]:
        """Ask what is part of its start. Raises `ConfigurationError` with the reason where it doesn't answer."""
        assert self._talk is not None
        return await self._talk.demand(verb, timeout=timeout, **args)

    async def begin(self) -> None:
        """Tell it to start, and wait until it is ready. Raises as `spawn` does."""
        talk = self._talk
        assert talk is not None
        public = None if self._public is None else self._public.fileno()
        talk.say("start", **{**self._house.start(), "public": public})
        told = await self._told(talk, "ready", "become ready")
        self.port, self.seconds = told["port"], self._opening + told["seconds"]
        self._ready_at = self._clock.monotonic()
        self._health = HEALTHY
        self._looking = asyncio.create_task(self._look(talk), name=f"health of {self.name}")
        self._house.changed(self, "started")

    async def run(self) -> None:
        """Whenever it ends, start it again. Returns when it is stopped.

        At once where it had settled; else a quarter of a second to half a minute later, the longer the more often it ended.
        """
        reason = await self._end()
        while not self._stopping.is_set():
            wait = restart_wait(self._failures - 1, self._clock) if self._failures else 0.0
            self._logger.error("%s; it starts again%s", reason, f" in {wait:.1f} s" if wait else "")
            await self._clock.sleep(wait)
            if self._stopping.is_set():
                return
            self.restarts += 1
            try:
                await self.start()
                reason = await self._end()
            except MicroError as error:
                self._failures += 1
                reason = str(error)

    async def ask(self, verb: str, *, timeout: float | None = _PATIENCE, **args: Any) -> dict[str, Any]:
        """What its part answers. Raises `CallError` where it doesn't, and the part's own `MicroError`."""
        if self._talk is None:
            raise CallError(f"{self.name} does not run")
        return await self._talk.ask(verb, timeout=timeout, **args)

    async def stop(self) -> None:
        """Have it drain and end, by SIGKILL where it takes too long. Idempotent."""
        self._stopping.set()
        if (talk := self._talk) is not None:
            talk.process.stop()
            code = await talk.process.ended()
            if talk.process.overdue:
                self._logger.warning("%s did not end within %g s and was killed", self.name, KILL_AFTER)
            elif code == _KILLED:
                self._logger.warning("%s was killed by somebody while it finished its work", self.name)
            await self._gone(talk)

    async def kill(self) -> None:
        """End it and its group at once. Idempotent."""
        self._stopping.set()
        if (talk := self._talk) is not None:
            await self._discard(talk)

    async def _told(self, talk: Conversation, what: str, to: str) -> dict[str, Any]:
        """What it says next; where that is not `what`, it is ended."""
        try:
            return await talk.told(what, to=to, limit=START_LIMIT)
        except ConfigurationError:
            await self._discard(talk)
            raise

    async def _end(self) -> str:
        """Wait for its end; how it ended, with its last words."""
        talk = self._talk
        if talk is None:
            return f"{self.name} does not run"
        reason = await talk.end()
        settled = self._ready_at is not None and self._clock.monotonic() - self._ready_at >= SETTLED
        self._failures = 0 if settled else self._failures + 1
        await self._gone(talk)
        return reason

    async def _discard(self, talk: Conversation) -> None:
        talk.process.kill()
        await talk.process.ended()
        await self._gone(talk)

    async def _gone(self, talk: Conversation) -> None:
        if self._talk is not talk:
            return
        self._talk, was_ready = None, self._ready_at is not None
        self._ready_at = self.port = None
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
        await talk.close()
        if was_ready:
            self._house.changed(self, "stopped")

    async def _look(self, talk: Conversation) -> None:
        silent = 0
        while True:
            try:
                self.report = health = await self.ask("health")
                state, reason = health["state"], health.get("reason", "")
                silent = 0
            except MicroError as error:
                if self._stopping.is_set() or talk.over:
                    return  # it ends, which is told by other means
                state, reason = UNHEALTHY, str(error)
                silent += isinstance(error, CallError)
            if silent >= _SILENT:
                self._logger.error("%s hangs: it has not answered %d times, and is killed", self.name, silent)
                talk.process.kill()
                return
            if state != self._health and not self._stopping.is_set() and not self.withdrawn:
                self._health = state
                self._logger.warning("%s is %s%s", self.name, state, f": {reason}" if reason else "")
                self._house.changed(self, state)
            await self._clock.sleep(_LOOK)

    def _wrote(self, line: str) -> None:
        if line.startswith(MARK):
            self._house.show(line.removeprefix(MARK))
        else:
            self._last = line
            self._logger.info("%s", line, extra={"instance": self.name})
