"""How many requests one address, user or API key may send, and how many a route takes."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from micro.cache.ports import Hit, Quota
from micro.gateway.headers import fields_of
from micro.gateway.refusals import refuse_by
from micro.security.peers import rate_key
from micro.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from micro.cache.ports import Window
    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import Verdict
    from micro.spec.terms import Rate

_new = tuple.__new__
"""Makes a `Quota` in half the time of its own constructor."""

_MOST = 1024
"""Subjects whose keys are remembered."""

_LINES = b"ratelimit-policy: %b\r\nratelimit: %b\r\n"
"""What an answer says of limits."""

BURST = 1.0
"""Seconds within which a burst comes."""


def _address(exchange: Exchange) -> str:
    return exchange.client


def _user(exchange: Exchange) -> str | None:
    identity = exchange.identity
    return f"{identity.issuer}\n{identity.subject}" if identity and identity.kind != "api_key" else None


def _api_key(exchange: Exchange) -> str | None:
    identity = exchange.identity
    return identity.subject if identity is not None and identity.kind == "api_key" else None


def _everybody(exchange: Exchange) -> str:
    return ""


SUBJECTS: Mapping[str, Callable[[Exchange], str | None]] = {
    "ip": _address,
    "user": _user,
    "api_key": _api_key,
    "route": _everybody,
}
"""Whose requests are counted together, by what configuration calls it. Nothing: this limit isn't about the request."""


class Meter:
    """One limit: `rate.limit` requests in any `rate.period` seconds from one subject. Known to clients by `name`.

    Requests are counted together that have the same `key` (the name unless given) and subject. IPv6 addresses count by
    their /64.
    """

    __slots__ = ("_name", "_prefix", "by", "form", "limit", "period", "policy", "subject", "whole")

    def __init__(self, name: str, rate: Rate, *, by: str = "ip", key: str | None = None) -> None:
        self._name = name
        self.by = by
        self.limit, self.period = rate.limit, rate.period
        self.subject = SUBJECTS[by]
        self._prefix = f"rate\n{name if key is None else key}\n"
        text = name.encode("ascii", "backslashreplace")
        quoted = b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        self.policy = b"%s;q=%d;w=%d" % (quoted, rate.limit, ceil(rate.period))
        """What `RateLimit-Policy` says of it: a member of a List (RFC 9651)."""
        form = quoted.replace(b"%", b"%%")
        self.form = form + b";r=%d;t=%d"
        """What `RateLimit` says of it, but for how many requests and seconds."""
        whole = form + b";r=%%d;t=%d" % ceil(rate.period)
        self.whole = _LINES % (self.policy.replace(b"%", b"%%"), whole)
        """What an answer says of it alone, but for how many requests: where the whole period has to pass, as after every
        request that was counted."""

    def key(self, subject: str) -> str:
        """What the window counts the requests of a subject under."""
        return self._prefix + (rate_key(subject) if self.by == "ip" else subject)

    def state(self, hit: Hit) -> bytes:
        """What `RateLimit` says of it. A refused client is never told to come back at once."""
        seconds = ceil(hit.reset)
        return self.form % (hit.remaining, seconds if hit.allowed else max(1, seconds))

    def __str__(self) -> str:
        of = {"ip": "address", "api_key": "API key", "route": "route"}.get(self.by, self.by)
        return f"{self.limit} in {self.period:g} s per {of}, counted as {self._name!r}"


class _Limits:
    """What one limit and several have in common: refusing, and telling.

    Every answer, the refusals of later policies included, carries `RateLimit` and `RateLimit-Policy` as structured
    fields (draft-ietf-httpapi-ratelimit-headers-11), one member for each limit that counted the request; a refusal has
    `Retry-After` besides (RFC 6585 section 4): after it every limit that refused lets one more pass.
    """

    __slots__ = ("_meters", "_window")

    def __init__(self, window: Window, meters: Sequence[Meter]) -> None:
        self._window = window
        self._meters = tuple(meters)

    def on_response(self, exchange: Exchange) -> None:
        """Tell the client what is left. The first such policy that sees the answer tells it for all."""
        if exchange.quota:
            exchange.fields += fields_of(exchange.quota)
            exchange.quota = b""

    def _tell(self, exchange: Exchange, policy: bytes, state: bytes) -> None:
        if exchange.quota:
            (_, policies), (_, states) = fields_of(exchange.quota)
            policy, state = policies + b", " + policy, states + b", " + state
        exchange.quota = _LINES % (policy, state)

    def _refuse(self, exchange: Exchange, meter: Meter, hit: Hit) -> Answer:
        wait = {"Retry-After": str(max(1, ceil(hit.reset)))}
        detail = f"At most {meter.limit} request{'s' * (meter.limit > 1)} in {meter.period:g} seconds."
        return refuse_by(exchange, Problem(429, detail=detail, headers=wait))

    def __str__(self) -> str:
        return "rate limit: " + "; ".join(map(str, self._meters))


class RateLimit(_Limits):
    """429 beyond one limit."""

    __slots__ = ("_by_address", "_keys", "_limit", "_meter", "_period", "_subject", "_whole")
    adds = True

    def __init__(self, window: Window, meter: Meter) -> None:
        super().__init__(window, (meter,))
        self._meter = meter
        self._subject, self._by_address = meter.subject, meter.by == "ip"
        self._keys: dict[str, str] = {}
        """The keys of subjects seen lately."""
        self._limit, self._period = meter.limit, meter.period
        self._whole = meter.whole

    def on_request(self, exchange: Exchange) -> Verdict:
        """Count it: at once where the window can, else when it has answered."""
        subject = exchange.client if self._by_address else self._subject(exchange)
        if subject is None:
            return None
        key = self._keys.get(subject) or self._remember(subject)
        hit = self._window.hit(key, self._limit, self._period)
        if hit.__class__ is not Hit:
            return self._wait(exchange, hit)  # type: ignore[arg-type] # no Hit: an awaitable of one
        if not hit.allowed or hit.reset != self._period or exchange.quota:
            return self._judge(exchange, hit)
        exchange.quota = self._whole % hit.remaining  # most of the time
        return None

    def _remember(self, subject: str) -> str:
        if len(self._keys) >= _MOST:
            self._keys.clear()
        key = self._keys[subject] = self._meter.key(subject)
        return key

    async def _wait(self, exchange: Exchange, hit: Awaitable[Hit]) -> Answer | None:
        return self._judge(exchange, await hit)

    def _judge(self, exchange: Exchange, hit: Hit) -> Answer | None:
        meter = self._meter
        self._tell(exchange, meter.policy, meter.state(hit))
        return None if hit.allowed else self._refuse(exchange, meter, hit)


class RateLimits(_Limits):
    """429 beyond any of several limits, which count a request in one atomic step: all of them, or none."""

    __slots__ = ()
    adds = True

    def on_request(self, exchange: Exchange) -> Verdict:
        """See `RateLimit.on_request`."""
        meters, quotas = [], []
        for meter in self._meters:
            subject = meter.subject(exchange)
            if subject is not None:
                meters.append(meter)
                quotas.append(_new(Quota, (meter.key(subject), meter.limit, meter.period)))
        if not quotas:
            return None
        hits = self._window.hit_all(quotas)
        if hits.__class__ is list:
            return self._judge(exchange, meters, hits)
        return self._wait(exchange, meters, hits)  # type: ignore[arg-type] # no list: an awaitable of one

    async def _wait(
        self, exchange: Exchange, meters: list[Meter], hits: Awaitable[list[Hit]]
    ) -> Answer | None:
        return self._judge(exchange, meters, await hits)

    def _judge(self, exchange: Exchange, meters: list[Meter], hits: list[Hit]) -> Answer | None:
        states = [meter.state(hit) for meter, hit in zip(meters, hits, strict=True)]
        self._tell(exchange, b", ".join([meter.policy for meter in meters]), b", ".join(states))
        refusing = [(hit.reset, index) for index, hit in enumerate(hits) if not hit.allowed]
        if not refusing:
            return None
        longest = max(refusing)[1]
        return self._refuse(exchange, meters[longest], hits[longest])
