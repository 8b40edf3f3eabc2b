"""The instances of one service, and which of them may get traffic."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from micro.gateway.upstream.breaker import CLOSED, OPEN
from micro.gateway.upstream.ejection import Ejection
from micro.gateway.upstream.instance import HEALTHY, NOT_CALM, STARTING, UNHEALTHY, Instance
from micro.gateway.upstream.meters import Meters
from micro.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from micro.gateway.deadlines import Wheel
    from micro.spec.upstream import UpstreamSpec

logger = logging.getLogger("micro.gateway.upstream")

NEVER = float("inf")
_BAD = frozenset({"unhealthy", "ejected", "opened", "panic"})


class Roster:
    """Works out who may get traffic when something changes, so that nobody has to when a request comes.

    That is: the instances that probes and traffic find fit, or, where fewer than `panic_below` percent are, all of
    them; and of these, those whose breaker admits a request now.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        spec: UpstreamSpec,
        wheel: Wheel,
        metrics: Metrics | None = None,
        announce: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.clock = wheel.clock
        self.instances: tuple[Instance, ...] = ()
        self.ready: tuple[Instance, ...] = ()
        """Those that may get traffic."""
        self.panic = False
        """Whether all get traffic because too few are fit."""
        self.ramping = False
        """Whether one of the ready is in slow start."""
        self.due = NEVER
        """When time alone changes who is ready, or how much."""
        self.news = asyncio.Event()
        """Set when instances came or left."""
        self.probed = False
        """Whether probes run."""
        self.on_gone: Callable[[Instance], None] | None = None
        """Called when an instance that has left has no requests any more."""
        self.meters = Meters(metrics or Metrics(), self)
        self._announce = announce
        self._alarmed = False
        """Whether everybody has been told of the panic."""
        self._ejection = Ejection(spec.ejection)
        self._join(tuple(Instance(url, spec.breaker) for url in dict.fromkeys(urls)))

    @property
    def verdict(self) -> str:
        """What the probes say of the service: `healthy` if any instance is, else `starting`, else `unhealthy`."""
        verdicts = {instance.verdict for instance in self.instances}
        return next((verdict for verdict in (HEALTHY, STARTING) if verdict in verdicts), UNHEALTHY)

    def states(self) -> list[dict[str, Any]]:
        """What there is to say of each instance, for people: address, state, share of the traffic."""
        now = self.keep_up()
        return [
            {
                "instance": instance.name,
                "state": instance.state(now),
                "active": instance.active,
                "weight": round(instance.weight, 2) if instance in self.ready else 0.0,
                "panic": self.panic,
                "reason": instance.reason,
            }
            for instance in self.instances
        ]

    def update(self, urls: Sequence[str]) -> None:
        """These are the instances from now on: who is new starts slowly, who is gone finishes its requests.

        Where probes run, who is new gets traffic when one has succeeded.
        """
        known = {instance.url: instance for instance in self.instances}
        stay = tuple(known.pop(url) for url in dict.fromkeys(urls) if url in known)
        stayed = {instance.url for instance in stay}
        new = tuple(Instance(url, self.spec.breaker) for url in dict.fromkeys(urls) if url not in stayed)
        if not new and not known:
            return
        for instance in new:
            instance.joined = self.clock.monotonic()
            instance.well = not self.probed
        self.instances = stay
        for instance in known.values():
            instance.gone, instance.calm_until = True, NOT_CALM
            self.meters.leave(instance)
            self.part(instance)
        self._join(new)

    def observed(self, instance: Instance, reason: str) -> None:
        """A probe has succeeded, or failed for `reason`."""
        now = self.keep_up()
        before, had = instance.verdict, instance.well
        if instance.gone or not instance.observe(self.spec.probe, reason):
            return
        if instance.well and not had:
            instance.joined = now
        if instance.verdict != before:
            self.tell(instance, instance.verdict, reason=reason, begins=before == STARTING)
        self.refresh()

    def failed(self, instance: Instance, now: float) -> None:
        """A request to it has failed."""
        if self._ejection.failed(instance, self.instances, now):
            self.meters.counts["ejections"].inc()
            self.tell(instance, "ejected", reason=f"{instance.failures} requests in a row failed")
            self.refresh()

    def turned(self, instance: Instance, now: float) -> None:
        """Its breaker has changed."""
        state = instance.breaker.state
        if instance.gone:
            return
        if state == CLOSED:
            instance.joined = now
            self.tell(instance, "closed")
        elif state == OPEN:
            self.meters.counts["breaker_openings"].inc()
            self.tell(instance, "opened", reason="most of its requests fail")
        self.refresh()

    def part(self, instance: Instance) -> None:
        """Take leave of an instance that has left, when its last request has ended."""
        if instance.gone and not instance.active and self.on_gone is not None:
            self.on_gone(instance)

    def keep_up(self) -> float:
        """See to what time alone has changed. Returns the time."""
        now = self.clock.monotonic()
        if now >= self.due:
            self.refresh()
        return now

    def refresh(self) -> None:
        """Work out who may get traffic now, and until when that holds."""
        now, span = self.clock.monotonic(), self.spec.slow_start
        due = NEVER
        for instance in self.instances:
            if self._ejection.over(instance, now):
                instance.joined = now
                self.tell(instance, "returned")
            due = min(due, instance.ramp(now, span), *_moments(instance, now))
        fit = tuple(instance for instance in self.instances if instance.fit)
        self.panic = len(fit) * 100 < len(self.instances) * self.spec.panic_below
        # At the start it is no news that nobody is well yet.
        alarming = self.panic and any(one.proven or one.ejected for one in self.instances)
        if alarming != self._alarmed:
            self._alarmed = alarming
            fit_now = f"{len(fit)} of {len(self.instances)} are fit"
            self.tell(None, "panic" if alarming else "calm", reason=fit_now)
        self.ready = tuple(
            instance for instance in (self.instances if self.panic else fit) if instance.breaker.admits(now)
        )
        self.ramping = any(instance.weight < 1.0 for instance in self.ready)
        self.due = due

    def tell(self, instance: Instance | None, state: str, *, reason: str = "", begins: bool = False) -> None:
        """Say what has changed: in the log, and to whoever wants to know. No request fails because of that.

        That an instance which `begins` is well is what everybody expects.
        """
        name = "" if instance is None else instance.name
        level = logging.WARNING if state in _BAD else logging.DEBUG if begins else logging.INFO
        logger.log(level, "%s: %s%s", f"{self.name} {name}".rstrip(), state, reason and f" ({reason})")
        if self._announce is not None:
            try:
                self._announce(self.name, name, state)
            except Exception:
                logger.exception("%s: %s could not be announced", self.name, state)

    def _join(self, instances: tuple[Instance, ...]) -> None:
        self.instances += instances
        for instance in instances:
            self.meters.join(instance)
        self.news.set()
        self.refresh()


def _moments(instance: Instance, now: float) -> list[float]:
    """When time alone changes what this instance may get."""
    moments = [instance.ejected_until] if instance.ejected else []
    breaker = instance.breaker
    if breaker.state != CLOSED and not breaker.admits(now):
        moments.append(breaker.until)
    return moments
