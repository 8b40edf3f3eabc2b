"""How many requests the gateway has in hand at one time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.refusals import refuse

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange
    from micro.telemetry.metrics import Metrics


class InHand:
    """The requests in hand, whatever plan they began with: one for each gateway."""

    __slots__ = ("count", "shed")

    def __init__(self, metrics: Metrics) -> None:
        self.count = 0
        self.shed = metrics.counter(
            "micro_gateway_shed_total", "Requests refused because too many were in hand."
        ).labels()


class Shedding:
    """At most `limit` requests in hand; one more gets 503, at once, while the others can still be answered.

    Requests to services count, from here to their end, however they end. The gateway's own endpoints don't, so that
    `/health` answers under any load.
    """

    __slots__ = ("_in_hand", "_limit")

    def __init__(self, limit: int, in_hand: InHand) -> None:
        self._limit = limit
        self._in_hand = in_hand

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Count it, or refuse it."""
        in_hand = self._in_hand
        if in_hand.count >= self._limit:
            in_hand.shed.inc()
            detail = "The gateway has too many requests at this moment."
            return refuse(exchange, 503, detail=detail, kind="connection_limit_reached")
        in_hand.count += 1
        exchange.held = True
        return None

    def on_end(self, exchange: Exchange) -> None:
        """It is in hand no more."""
        if exchange.held:
            exchange.held = False
            self._in_hand.count -= 1

    def __str__(self) -> str:
        return f"shedding: {self._limit} requests in hand at most"
