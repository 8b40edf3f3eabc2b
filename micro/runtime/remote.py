"""Members that are no app of this process: instances somewhere on the network, or a program that micro runs itself.

Of the stack's own services, where they run in other processes, it is told the instances while it runs.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from micro.errors import ConfigurationError, MicroError
from micro.gateway.upstream.cluster import Cluster
from micro.gateway.upstream.network import NetworkUpstream
from micro.gateway.upstream.proof import Proof
from micro.runtime.health import HEALTHY, STARTING, UNHEALTHY
from micro.spec.upstream import EjectionSpec, RetrySpec, UpstreamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from micro.gateway.deadlines import Wheel
    from micro.gateway.upstream.instance import Instance
    from micro.runtime.programs.program import Program
    from micro.spec.upstream import TlsSpec
    from micro.stack import Member
    from micro.telemetry.metrics import Metrics

CRASH_LOOP = "crash-loop"
"""The verdict on a program that ends again and again."""
_LOOK = 0.05
"""Seconds between two looks at a program that is starting."""
_PATIENCE = 3.0
"""Seconds after which whoever waits is told what for."""


class Remote:
    """A member's place in the stack: its cluster, its upstream and, where micro runs it, its program."""

    def __init__(
        self,
        member: Member,
        *,
        root: Path,
        wheel: Wheel,
        metrics: Metrics,
        announce: Callable[[str, str, str], None],
        sign: Callable[[], str] | None = None,
    ) -> None:
        """Files that the member's settings name lie below `root`. `sign` gives this process's service token, for its own."""
        member = replace(member, upstream=replace(member.upstream, tls=_below(root, member.upstream.tls)))
        self.own = member.url == ()
        """Whether it is one of the stack's own, in processes of their own: it is told the instances."""
        if self.own:
            member = _own(member)
        self.member = member
        self.cluster = Cluster(
            member.name,
            member.url or (),
            spec=member.upstream,
            wheel=wheel,
            metrics=metrics,
            announce=lambda name, instance, state: announce(name, self.instance(instance), state),
        )
        proof = Proof(sign) if self.own and sign is not None and not member.command else None
        self.upstream = NetworkUpstream(self.cluster, clock=wheel.clock, wheel=wheel, proof=proof)
        self.program: Program | None = None
        """What micro runs, from its start on."""
        self.started = 0.0
        """The clock's monotonic time of the start."""
        self.seconds = 0.0
        """What the start took."""

    def verdict(self) -> str:
        """What `micro ps` and `micro health` say of it."""
        verdict, program = self.cluster.verdict, self.program
        if program is None:
            return STARTING if self._runs else verdict
        if verdict == HEALTHY and program.pid:
            return verdict
        if program.loops:
            return CRASH_LOOP
        return verdict if program.pid or verdict == STARTING else UNHEALTHY

    def instance(self, address: str) -> str:
        """What people call the instance with this address: a program is the first and only one of its service."""
        return f"{self.member.name}-1" if self._runs and address else address

    @property
    def _runs(self) -> bool:
        return self.member.command is not None and not self.own

    async def probe(self, instance: Instance) -> bool:
        """Ask an instance's health path. Raises `MicroError` and `OSError`, which say what is wrong."""
        status = await self.upstream.probe(instance, self.member.health)
        if status >= 400:
            raise MicroError(f"GET {self.member.health} answers {status}")
        return True

    async def watch(self) -> None:
        """Probe the instances in the background. Never returns."""
        await self.cluster.run(self.probe)

    async def look(self, urls: Collection[str] | None = None) -> None:
        """Probe each instance once, or those with these URLs, all at the same time, so that something is known of them."""
        instances = [each for each in self.cluster.instances if urls is None or each.url in urls]
        reasons = await asyncio.gather(*map(self._reason_against, instances))
        for instance, reason in zip(instances, reasons, strict=True):
            self.cluster.observed(instance, reason)

    async def begin(self, program: Program, url: str) -> None:
        """Start the program, which is to listen at `url`. Raises `MicroError` where the system refuses."""
        self.program = program
        self.cluster.update([url])
        self.started = self.cluster.clock.monotonic()
        await program.start()

    async def ready(self, limit: float, *, notice: Callable[[str], None]) -> None:
        """Wait until the program's health path answers; tell `notice` once if that takes long.

        Raises `ConfigurationError` where it ends before, or is not well after `limit` seconds.
        """
        program = self.program
        assert program is not None
        ready = asyncio.create_task(self._ready(limit, notice))
        ended = asyncio.create_task(program.ended())
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise self._error(f"{ended.result()}; it had not answered GET {self.member.health} yet")
            ready.result()
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)
        self.seconds = self.cluster.clock.monotonic() - self.started

    def rows(self) -> list[dict[str, Any]]:
        """Instance, state, address, process, uptime and restarts of each instance; `None` for what isn't known here."""
        states = {each["instance"]: each["state"] for each in self.cluster.states()}
        program = self.program
        process: dict[str, Any] = {"pid": None, "uptime": None, "restarts": 0}
        if program is not None:
            uptime = self.cluster.clock.monotonic() - program.began if program.pid else None
            process = {"pid": program.pid, "uptime": uptime, "restarts": program.restarts}
        return [
            {
                "instance": self.instance(each.name),
                "state": states[each.name] if program is None else self.verdict(),
                "url": each.url,
                **process,
            }
            for each in self.cluster.instances
        ]

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self.upstream.close()
        self.cluster.close()

    async def _reason_against(self, instance: Instance) -> str:
        """What speaks against it; empty for nothing."""
        try:
            async with asyncio.timeout(self.member.upstream.probe.timeout):
                await self.probe(instance)
        except TimeoutError:
            return "no answer"
        except (MicroError, OSError) as error:
            return str(error) or type(error).__name__
        return ""

    async def _ready(self, limit: float, notice: Callable[[str], None]) -> None:
        clock, member = self.cluster.clock, self.member
        began = clock.monotonic()
        told = False
        (instance,) = self.cluster.instances
        while reason := await self._reason_against(instance):
            waited = clock.monotonic() - began
            if waited >= limit:
                raise self._error(
                    f"was not ready at {instance.url} within {limit:g} s: {reason}; "
                    f"it has to listen on PORT of its environment, and answer GET {member.health}"
                )
            if waited >= _PATIENCE and not told:
                told = True
                notice(
                    f"waiting for {member.name}: '{member.command}' does not answer GET {member.health} yet ({reason}); "
                    f"it has {limit:g} s, Ctrl-C stops"
                )
            await clock.sleep(_LOOK)
        self.cluster.observed(instance, "")  # that it was not there at first says nothing

    def _error(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self.member.name}: '{self.member.command}' {reason}")


def _own(member: Member) -> Member:
    """How the instances of the stack's own services are treated, but for the tables that the settings change.

    One that was killed is a matter of milliseconds until everybody is told of it: until then, and without a limit on how
    many, requests that may be repeated go to another, and none of the next ones there. An app gets the client's `Host`; what
    is asked about its health is our wrapper, which says whether it may get traffic, and knows more than the app's own path.
    """
    usual, spec = UpstreamSpec(), member.upstream
    retry = RetrySpec(attempts=3, budget=100, base=0.005) if spec.retry == usual.retry else spec.retry
    ejection = EjectionSpec(failures=2, period=1.0) if spec.ejection == usual.ejection else spec.ejection
    spec = replace(spec, retry=retry, ejection=ejection)
    if member.command:
        return replace(member, upstream=spec)
    health = "/health/ready" if member.health == "/health" else member.health
    return replace(member, upstream=replace(spec, pass_host=True), health=health)


def _below(root: Path, tls: TlsSpec) -> TlsSpec:
    ca, certificate = (None if file is None else str(root / file) for file in (tls.ca, tls.certificate))
    return replace(tls, ca=ca, certificate=certificate)
