"""Answers to known host names only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.refusals import refuse

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange
    from micro.web.hosts import Hosts

EXEMPT = b"/health"
"""Load balancers ask for it by address."""
MAX_KNOWN = 256
"""Spellings that are remembered as fine."""


class KnownHost:
    """400 for a `Host` that is missing, repeated, malformed (RFC 9112 section 3.2) or not one of ours."""

    __slots__ = ("_hosts", "_known")
    by_head = True

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._known: set[bytes] = set()

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Let it go on, or refuse it."""
        host = exchange.found.get(b"host")
        if host in self._known or exchange.path == EXEMPT:
            return None
        reason = self._hosts.refusal(() if host is None else ((b"host", host),))
        if reason is not None:
            return refuse(exchange, 400, detail=reason)
        if host is not None and len(self._known) < MAX_KNOWN:
            self._known.add(host)
        return None

    def __str__(self) -> str:
        return "hosts: the Host is one of the gateway's names"
