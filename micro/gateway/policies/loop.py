"""Signs requests with `Via`, and recognises the gateway's own signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.refusals import fail

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange


class Loop:
    """Adds the gateway's entry to `Via` (RFC 9110 section 7.6.3); 502 where that is there already (section 7.6).

    The entry is a pseudonym: it tells no address, and no two gateways share it.
    """

    __slots__ = ("_entries", "_name")
    by_head = True

    def __init__(self, name: str) -> None:
        self._name = name.encode("ascii")
        self._entries = {
            version: (b"via", f"{version} {name}".encode("ascii")) for version in ("1.0", "1.1", "2", "3")
        }

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Sign it, or refuse it."""
        exchange.via = self._entries[exchange.version]
        before = exchange.found.get(b"via")
        if before is not None:
            if self._name in before:
                return fail(exchange, "proxy_loop_detected")
            exchange.via = (b"via", before + b", " + exchange.via[1])
        return None

    def __str__(self) -> str:
        return "loop: signs with Via, refuses its own signature"
