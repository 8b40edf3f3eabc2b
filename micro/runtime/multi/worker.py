"""A child of the supervisor: one instance of a service or one gateway worker, in a process of its own.

    python -P -m micro.runtime.multi.worker FD INSTANCE

FD is its end of the life line (see `micro.runtime.multi.lifeline`); INSTANCE is for people who look at a list of processes.

    supervisor                       child
    describe {…}                →    imports and constructs its part
                                ←    built {facts}          or failed {error}
    start {peers, facts, …}     →    opens, starts, serves
                                ←    ready {port, seconds}  or failed {error}

SIGTERM, or the end of the life line, drains it; a second SIGTERM ends it at once. Its exit code is 0 then.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from micro.clock import SystemClock
from micro.config.environment import ADVERTISE
from micro.errors import MicroError
from micro.runtime.ending import leave, run
from micro.runtime.multi.lifeline import LifeLine
from micro.runtime.parts.description import Description, Start
from micro.runtime.sockets import listen, unbound
from micro.runtime.stop import Stop, completes
from micro.telemetry.instance_logs import configure_instance_logs
from micro.telemetry.logs import current_service

if TYPE_CHECKING:
    from micro.clock import Clock
    from micro.runtime.multi.lifeline import Answer
    from micro.runtime.parts.description import Part

_log = logging.getLogger("micro.runtime.multi.worker")

_HURRY = 3.0
"""Seconds to leave nothing behind, once the work is finished or given up."""
_REFUSED, _FAILED = 2, 1
_LOOPBACK = "127.0.0.1"


class WorkerStop(Stop):
    """Asked to stop by a signal or by the end of the life line; where both come of one cause, they count as one."""

    _expected = False

    def orphaned(self) -> None:
        """The supervisor is gone. Its launcher will say so by SIGTERM, too."""
        self._expected = True
        self.asked.set()

    def ask(self) -> None:
        """See `Stop.ask`."""
        if self._expected:
            self._expected = False
        else:
            super().ask()


class Worker:
    """One child, from its description to its end."""

    def __init__(self, sock: socket.socket, stop: WorkerStop, *, clock: Clock) -> None:
        self._line = LifeLine(sock, hear=self._heard)
        self._stop = stop
        self._clock = clock
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._part: Part | None = None
        self._grace = 0.0

    async def run(self) -> int:
        """Live; the exit code."""
        await self._line.open()
        holding = asyncio.create_task(self._hold(), name="life line")
        try:
            return await self._live()
        except MicroError as error:
            self._line.say("failed", error=str(error))
            return _REFUSED
        except Exception as error:  # noqa: BLE001 # whatever an author's code raises, the supervisor is told
            _log.exception("it failed")
            self._line.say("failed", error=f"{type(error).__name__}: {error}")
            return _FAILED
        finally:
            await self._close()
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    async def _hold(self) -> None:
        try:
            await self._line.run()
        finally:
            if not self._stop.asked.is_set():
                # The supervisor is gone, and with it whoever read our output: writing there would fail.
                _silence()
                self._stop.orphaned()

    async def _live(self) -> int:
        stop = self._stop
        if await completes(self._begin(), unless=stop.asked):
            assert self._part is not None
            await completes(self._part.run(), unless=stop.asked)
            await completes(self._part.drain(self._grace), unless=stop.hurried)
        return 0

    async def _begin(self) -> None:
        description = msgspec.convert(await self._said.get(), Description)
        self._grace = description.grace
        current_service.set(description.service)
        configure_instance_logs(
            Path(description.logs), description.service, description.number, level=description.level
        )
        await self._start(description)

    async def _start(self, description: Description) -> None:
        module, _, name = description.build.partition(":")
        part = self._part = getattr(importlib.import_module(module), name)(description)
        health = part.verbs.get("health", _healthy)
        self._line.verbs.update(part.verbs)
        self._line.verbs["health"] = partial(_measured, health)
        for verb in ("open", "peers"):
            self._line.verbs.setdefault(verb, _taken)
        self._line.say("built", facts=dict(part.facts))
        told = await self._said.get()
        began = self._clock.monotonic()
        public, private = told.pop("public"), _listen()
        port = private.getsockname()[1]
        start = Start(public=_inherited(public), private=private, **told)
        await part.start(start)
        gc.freeze()  # what has come to stay is not looked at again
        gc.enable()
        seconds = self._clock.monotonic() - began
        self._line.say("ready", port=port, seconds=round(seconds, 4))

    def _heard(self, what: str, args: dict[str, Any]) -> None:
        self._said.put_nowait(args)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(_HURRY):
                if self._part is not None:
                    await self._part.close()
        except TimeoutError:
            _log.warning("it did not end within %g s", _HURRY)
        except Exception:  # noqa: BLE001 # the process ends in any case
            _log.exception("its end failed")


async def _healthy() -> dict[str, Any]:
    return {"state": "healthy", "reason": ""}


async def _measured(health: Answer) -> dict[str, Any]:
    """The part's own answer, and what the process has used: `cpu` (seconds) and, at its highest, `memory` (bytes)."""
    import resource  # noqa: PLC0415 - loaded when first used

    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * unit, **await health()}


async def _taken(**args: Any) -> dict[str, Any]:
    return {}


def _inherited(number: int | None) -> socket.socket | None:
    """The socket of that descriptor, which this process's own children don't get."""
    if number is None:
        return None
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def _listen() -> socket.socket:
    """The instance's own socket: on loopback, or wherever other machines are told to look for it."""
    advertised = os.environ.get(ADVERTISE)
    host = _LOOPBACK if not advertised else "::" if ":" in advertised else "0.0.0.0"  # noqa: S104 # because it is told to
    sock = unbound(host)
    listen(sock, "an instance", host=host, port=0)
    return sock


def _silence() -> None:
    """Let whatever is written on stdout and stderr from now on go nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


async def _main(sock: socket.socket) -> int:
    with WorkerStop() as stop:
        return await Worker(sock, stop, clock=SystemClock()).run()


def main(arguments: list[str]) -> int:
    """Be the child that the other end of the descriptor describes."""
    sock = socket.socket(fileno=int(arguments[0]))
    sock.set_inheritable(False)
    gc.disable()  # next to nothing of a start is garbage; it is enabled when the part is ready
    code = _FAILED
    with contextlib.suppress(KeyboardInterrupt):
        code = run(partial(_main, sock), clock=SystemClock())
    leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
