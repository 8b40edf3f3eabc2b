"""One running copy of a service, as the gateway sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from micro.gateway.upstream.breaker import CLOSED, HALF_OPEN, Breaker

if TYPE_CHECKING:
    from micro.spec.upstream import BreakerSpec, ProbeSpec

HEALTHY, UNHEALTHY, STARTING = "healthy", "unhealthy", "starting"
EJECTED, BROKEN, TRIED = "ejected", "open", "half-open"
STATES = (HEALTHY, UNHEALTHY, STARTING, EJECTED, BROKEN, TRIED)

STEPS = 20
"""In which the share of an instance in slow start grows."""
NOT_CALM = float("-inf")
HASTE = 4
"""How many quick probes an instance gets at first: they don't make it unhealthy, it may still be starting."""


class Instance:
    """An address, the requests in flight to it, and what is known of it. Its cluster writes it; `pool` is the
    transport's."""

    __slots__ = (
        "active",
        "base",
        "breaker",
        "calm_until",
        "ejected",
        "ejected_until",
        "ejections",
        "failures",
        "gone",
        "host",
        "joined",
        "name",
        "pool",
        "port",
        "proven",
        "reason",
        "streak",
        "tls",
        "url",
        "verdict",
        "weight",
        "well",
    )

    def __init__(self, url: str, breaker: BreakerSpec) -> None:
        parts = urlsplit(url)
        self.url = url
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.base = parts.path.rstrip("/").encode("ascii")
        """What every path is sent on behind."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.name = f"{host}:{self.port}{self.base.decode('ascii')}"
        """What logs, metrics and people call it: `host:port`, with the URL's path where that has one."""
        self.pool: Any = None

        self.active = 0
        """Requests in flight."""
        self.gone = False
        """Whether it has left the cluster: it gets no new requests."""
        self.joined = float("-inf")
        """When its share began to grow."""
        self.weight = 1.0
        """How much of its share of the traffic it gets: less than all of it in slow start."""

        self.verdict = STARTING
        """What the probes say."""
        self.well = True
        """Whether it may have traffic for all that the probes know."""
        self.proven = False
        """Whether a probe has ever succeeded."""
        self.streak = 0
        """Probes in a row that succeeded, or, below zero, failed."""
        self.reason = ""
        """Why the last probe failed; empty where it did not."""

        self.failures = 0
        """Requests in a row that failed."""
        self.ejected = False
        self.ejected_until = float("-inf")
        self.ejections = 0
        """In a row."""
        self.breaker = Breaker(breaker)
        self.calm_until = NOT_CALM
        """Before this moment a request that ends well needs only to be counted: the breaker is closed, the instance has not
        left, and no window of time has to move on."""

    @property
    def fit(self) -> bool:
        """Whether neither probes nor real traffic speak against it."""
        return self.well and not self.ejected

    def observe(self, spec: ProbeSpec, reason: str) -> bool:
        """A probe has succeeded (`reason` is empty) or failed. Whether the verdict, or its right to traffic, changed.

        Who was never well is believed at the first success, and gets no traffic from the first failure on.
        """
        before = (self.verdict, self.well)
        self.reason = reason
        if reason:
            self.streak = min(self.streak, 0) - 1
            self.well = self.well and self.proven and -self.streak < spec.unhealthy_after
            patience = spec.unhealthy_after + (0 if self.proven else HASTE)
            if not self.well and -self.streak >= patience:
                self.verdict = UNHEALTHY
        else:
            self.streak = max(self.streak, 0) + 1
            if not self.proven or self.streak >= spec.healthy_after:
                self.verdict, self.well, self.proven = HEALTHY, True, True
        return before != (self.verdict, self.well)

    def ramp(self, now: float, span: float) -> float:
        """Set `weight`, which grows evenly over `span` seconds. Returns the moment of the next step."""
        passed = now - self.joined
        if passed >= span:
            self.weight = 1.0
            return float("inf")
        self.weight = max(1.0 / STEPS, passed / span)
        return now + span / STEPS

    def state(self, now: float) -> str:
        """One of `STATES`: the gravest that there is to say."""
        if not self.well:
            return self.verdict
        if self.ejected:
            return EJECTED
        breaker = self.breaker
        if breaker.state != CLOSED:
            return TRIED if breaker.state == HALF_OPEN or breaker.admits(now) else BROKEN
        return HEALTHY if self.weight == 1.0 else STARTING
