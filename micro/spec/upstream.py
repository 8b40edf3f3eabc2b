"""How the gateway treats the instances of a service that lies on the network: the `[services.NAME.upstream]` tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from micro.spec.terms import Count, Failure, HashKey, HostName, Percent, Seconds, Text, WholeNumber  # noqa: TC001 # read at run time


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """`[services.NAME.upstream.probe]`: an instance's health path, asked in the background."""

    interval: Seconds = 2.0
    """Between two probes of one instance; each wait is drawn from 0.9 to 1.1 of it."""
    timeout: Seconds = 1.0
    unhealthy_after: Count = 3
    """Failures in a row after which it gets no traffic."""
    healthy_after: Count = 2
    """Successes in a row after which it gets traffic again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionSpec:
    """`[services.NAME.upstream.ejection]`: what real traffic says of an instance."""

    failures: WholeNumber = 5
    """Gateway failures (502, 503, 504, broken off) in a row after which it is set aside; 0 switches this off."""
    period: Seconds = 10.0
    """How long for; twice as long the second time in a row, and so on, up to `longest`."""
    longest: Seconds = 300.0
    at_most: Percent = 50
    """Of the instances may be set aside at one time; one always may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSpec:
    """`breaker` of an upstream (for each instance) or of a route: stop sending where most of it fails."""

    failure_rate: Percent = 50
    """Opens when so many of the requests in `window` failed; 0 switches it off."""
    requests: WholeNumber = 20
    """Fewer requests than these in `window` say nothing."""
    window: Seconds = 10.0
    open: Seconds = 5.0
    """Until a single request is let through to see; it decides whether the breaker closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySpec:
    """`[services.NAME.upstream.retry]`: a request is sent again only where nothing of it was sent, or its method is
    idempotent (RFC 9110 section 9.2.2) and its body is still at hand."""

    attempts: Count = 2
    """Tries in all; 1 never sends again."""
    statuses: tuple[Failure, ...] = ()
    """Answers that count as failed tries, such as 503; connection failures always do."""
    budget: Percent = 20
    """At most so many retries for the requests of the last ten seconds; three are always allowed."""
    base: Seconds = 0.025
    cap: Seconds = 0.25
    """The wait before a further try: exponential from `base`, full jitter, up to `cap`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSpec:
    """`[services.NAME.upstream.tls]`, for `https:` URLs."""

    ca: Text | None = None
    """A file of certificates to trust instead of the system's."""
    certificate: Text | None = None
    """A client certificate with its key in one PEM file."""
    server_name: HostName | None = None
    """The name to expect instead of the URL's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSpec:
    """`[services.NAME.upstream]`."""

    balance: Literal["round_robin", "least_requests", "two_choices", "hash"] = "round_robin"
    hash_by: HashKey = "ip"
    """With `hash`: `ip`, `path`, `header:NAME` or `cookie:NAME`."""
    pass_host: bool = False
    """Send the client's `Host` on instead of the URL's. The instances of the stack's own services always get it."""
    max_connections: Count = 256
    """To one instance."""
    max_requests: Count = 1024
    """At one time to all instances; more wait in the queue."""
    queue: WholeNumber = 1024
    """How many may wait; one more gets 503."""
    queue_timeout: Seconds = 1.0
    """How long one waits; then it gets 503."""
    connect_timeout: Seconds = 2.0
    write_timeout: Seconds = 15.0
    """Without the instance taking a byte that waits for it."""
    first_byte_timeout: Seconds | None = None
    """From the end of the request to the head of the answer; `None`: the route's timeout decides."""
    read_timeout: Seconds = 60.0
    """Without a byte of an answer that has begun."""
    keep_alive: Seconds = 30.0
    """How long an idle connection is kept. Shorter than what the instances keep theirs, or requests meet closed ones."""
    slow_start: Seconds = 0.0
    """Over which an instance that is new or well again gets more and more traffic."""
    panic_below: Percent = 50
    """Where fewer of the instances are well, all get traffic: better some failures than the rest overrun. 0: never."""
    probe: ProbeSpec = ProbeSpec()
    ejection: EjectionSpec = EjectionSpec()
    breaker: BreakerSpec = BreakerSpec()
    retry: RetrySpec = RetrySpec()
    tls: TlsSpec = TlsSpec()
