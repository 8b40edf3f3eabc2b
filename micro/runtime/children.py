"""One child of the supervisor: an instance that is to run until it is stopped, started again whenever it ends.

Its process is `micro.runtime.worker`, in a group of its own that ends with it and with us (see `micro.runtime.process`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from micro.errors import CallError, ConfigurationError, MicroError
from micro.runtime.health import HEALTHY, STARTING, UNHEALTHY
from micro.runtime.lifeline import LifeLine
from micro.runtime.output import Output
from micro.runtime.process import Launch, Process
from micro.runtime.program import described
from micro.runtime.supervise import restart_wait
from micro.telemetry.logs import MARK, service_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.runtime.description import Description
    from micro.runtime.household import Household

_log = logging.getLogger("micro.runtime.children")

CRASH_LOOP, STOPPING = "crash-loop", "stopping"
KILL_AFTER = 15.0
"""Seconds from SIGTERM to SIGKILL: for requests and events in hand, and to close what is open."""
START_LIMIT = 60.0
"""Seconds that an instance gets to load its code, and again to become ready."""
SETTLED = 10.0
"""Seconds for which an instance must have been ready for its next end to count as a first one."""
_LOOP = 3
"""Ends in a row of an instance that had not settled: a crash loop."""
_LOOK = 2.0
"""Seconds between two questions about health."""
_PATIENCE = 5.0
"""Seconds that a well process needs at most to answer one."""
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
        self._process: Process | None = None
        self._line: LifeLine | None = None
        self._news: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._ready_at: float | None = None
        self._health = HEALTHY
        self._failures = 0
        self._last = ""
        """The latest line that it wrote and that is in no log."""

    @property
    def pid(self) -> int | None:
        """Of its process, where it runs."""
        return None if self._process is None else self._process.pid or None

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
        return STARTING if self._process is not None or not self._failures else UNHEALTHY

    async def start(self) -> None:
        """Run it until it is ready. Raises as `spawn` and `begin` do."""
        await self.spawn()
        await self.begin()

    async def spawn(self) -> None:
        """Run its process until its code is loaded, and `facts` are known.

        Raises `ConfigurationError` with the reason where it refuses or ends; nothing of it runs then.
        """
        self.began = self._clock.monotonic()
        self._last = ""
        ours, theirs = socket.socketpair()
        self._news = asyncio.Queue()
        self._line = LifeLine(ours, hear=lambda *news: self._news.put_nowait(news))
        held = [self._public.fileno()] if self._public is not None else []
        held += [] if self._house.lock is None else [self._house.lock]
        launch = Launch(
            command=(*self._house.command, str(theirs.fileno()), self.name),
            env=self._house.env,
            folder=self._house.folder,
            grace=KILL_AFTER,
            fds=(theirs.fileno(), *held),
        )
        process = Process(launch, self._output)
        try:
            await self._line.open()
            await process.start()
            self._process, self.last_pid = process, process.pid
        finally:
            theirs.close()
            if self._process is None:
                self._line.close()
        self._tasks = [asyncio.create_task(self._line.run(), name=f"life line of {self.name}")]
        self._house.changed(self, "spawned")
        self._line.say("describe", **msgspec.to_builtins(self.description))
        self.facts = (await self._told("built", "load its code"))["facts"]

    async def begin(self) -> None:
        """Tell it to start, and wait until it is ready. Raises as `spawn` does."""
        assert self._line is not None
        public = None if self._public is None else self._public.fileno()
        self._line.say("start", **{**self._house.start(), "public": public})
        told = await self._told("ready", "become ready")
        self.port, self.seconds = told["port"], told["seconds"]
        self._ready_at = self._clock.monotonic()
        self._health = HEALTHY
        self._tasks.append(asyncio.create_task(self._look(), name=f"health of {self.name}"))
        self._house.changed(self, "started")

    async def run(self) -> None:
        """Whenever it ends, start it again, a quarter of a second to half a minute later. Returns when it is stopped."""
        reason = await self._end()
        while not self._stopping.is_set():
            wait = restart_wait(self._failures - 1, self._clock)
            self._logger.error("%s; it starts again in %.1f s", reason, wait)
            await self._clock.sleep(wait)
            if self._stopping.is_set():
                return
            self.restarts += 1
            try:
                await self.start()
                reason = await self._end()
            except MicroError as error:
                reason = str(error)

    async def ask(self, verb: str, *, timeout: float = _PATIENCE, **args: Any) -> dict[str, Any]:
        """What its part answers. Raises `CallError` where it doesn't, and the part's own `MicroError`."""
        if self._line is None:
            raise CallError(f"{self.name} does not run")
        return await self._line.ask(verb, timeout=timeout, **args)

    async def stop(self) -> None:
        """Have it drain and end, by SIGKILL where it takes too long. Idempotent."""
        self._stopping.set()
        if (process := self._process) is not None:
            process.stop()
            if await process.ended() == _KILLED:
                self._logger.warning("%s did not end within %g s and was killed", self.name, KILL_AFTER)
            await self._gone(process)

    async def kill(self) -> None:
        """End it and its group at once. Idempotent."""
        self._stopping.set()
        if (process := self._process) is not None:
            process.kill()
            await process.ended()
            await self._gone(process)

    async def _told(self, what: str, to: str) -> dict[str, Any]:
        """What it says next, which is `what`. Where it says something else, ends or takes too long, it is ended."""
        process = self._process
        assert process is not None
        heard = asyncio.create_task(self._news.get())
        ended = asyncio.create_task(process.ended())
        try:
            await asyncio.wait({heard, ended}, timeout=START_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            if heard.done() and heard.result()[0] == what:
                return heard.result()[1]
            if heard.done():
                reason = str(heard.result()[1].get("error") or "it said something else than expected")
            elif ended.done():
                await asyncio.wait({self._tasks[0]})
                reason = self._refusal() or f"{self.name} {self._words(ended.result())}"
            else:
                reason = f"{self.name} took longer than {START_LIMIT:g} s to {to}"
        finally:
            for task in (heard, ended):
                task.cancel()
            await asyncio.gather(heard, ended, return_exceptions=True)
        self._failures += 1
        await self._discard(process)
        raise ConfigurationError(reason)

    def _refusal(self) -> str:
        """What it said before it ended."""
        while not self._news.empty():
            what, args = self._news.get_nowait()
            if what == "failed":
                return str(args["error"])
        return ""

    async def _end(self) -> str:
        """Wait for its end; how it ended, with its last words."""
        process = self._process
        if process is None:
            return f"{self.name} does not run"
        code = await process.ended()
        settled = self._ready_at is not None and self._clock.monotonic() - self._ready_at >= SETTLED
        self._failures = 1 if settled else self._failures + 1
        await self._gone(process)
        return f"{self.name} {self._words(code)}"

    def _words(self, code: int) -> str:
        return f"ended {described(code)}" + (f": {self._last}" if self._last else "")

    async def _discard(self, process: Process) -> None:
        process.kill()
        await process.ended()
        await self._gone(process)

    async def _gone(self, process: Process) -> None:
        if self._process is not process:
            return
        self._process, was_ready = None, self._ready_at is not None
        self._ready_at = self.port = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._line is not None:
            self._line.close()
            self._line = None
        if was_ready:
            self._house.changed(self, "stopped")

    async def _look(self) -> None:
        while True:
            try:
                self.report = health = await self.ask("health")
                state, reason = health["state"], health.get("reason", "")
            except MicroError as error:
                if self._stopping.is_set() or self._tasks[0].done():
                    return  # it ends, which is told by other means
                state, reason = UNHEALTHY, str(error)
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
