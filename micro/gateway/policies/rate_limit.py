"""How many requests one address may send."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from micro.cache.ports import Hit
from micro.gateway.refusals import refuse_by
from micro.security.peers import rate_key
from micro.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from micro.cache.ports import Window
    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import Verdict
    from micro.terms import Rate


class RateLimit:
    """At most `rate.limit` requests in any `rate.period` seconds from one address (IPv6: one /64). Else 429.

    Requests are counted together under `name`. Every answer, the refusals of later policies included, carries
    `RateLimit` and `RateLimit-Policy` as structured fields (draft-ietf-httpapi-ratelimit-headers-11), a refusal
    `Retry-After` besides (RFC 6585 section 4), which agrees with them.
    """

    __slots__ = ("_limit", "_name", "_period", "_policy", "_prefix", "_state", "_window")

    def __init__(self, window: Window, rate: Rate, *, name: str = "default") -> None:
        self._window = window
        self._limit, self._period = rate.limit, rate.period
        self._name = name
        self._prefix = f"rate:{name}:"
        quoted = b'"' + name.encode("ascii").replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        self._policy = (b"ratelimit-policy", b"%s;q=%d;w=%d" % (quoted, rate.limit, ceil(rate.period)))
        self._state = quoted.replace(b"%", b"%%") + b";r=%d;t=%d"

    def on_request(self, exchange: Exchange) -> Verdict:
        """Count it: at once where the window can, else when it has answered."""
        hit = self._window.hit(self._prefix + rate_key(exchange.client), self._limit, self._period)
        if hit.__class__ is Hit:
            return self._judge(exchange, hit)
        return self._wait(exchange, hit)  # type: ignore[arg-type] # no Hit: an awaitable of one

    async def _wait(self, exchange: Exchange, hit: Awaitable[Hit]) -> Answer | None:
        return self._judge(exchange, await hit)

    def _judge(self, exchange: Exchange, hit: Hit) -> Answer | None:
        exchange.quota = hit
        if hit.allowed:
            return None
        wait = {"Retry-After": str(max(1, ceil(hit.reset)))}
        detail = f"At most {self._limit} requests in {self._period:g} seconds."
        return refuse_by(exchange, Problem(429, detail=detail, headers=wait))

    def on_response(self, exchange: Exchange) -> None:
        """Tell the client what is left."""
        quota = exchange.quota
        if quota is not None:
            seconds = ceil(quota.reset)
            state = self._state % (quota.remaining, seconds if quota.allowed else max(1, seconds))
            exchange.fields += (self._policy, (b"ratelimit", state))

    def __str__(self) -> str:
        return f"rate limit: {self._limit} in {self._period:g} s per address, counted as {self._name!r}"
