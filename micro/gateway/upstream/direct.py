"""The short path: an exchange passes between the client's connection and an instance's in plain calls, without ASGI.

    client's connection ──start──▶ upstream            the request: head from the exchange, body by `Leg.feed`, `Leg.end`
    client's connection ◀─head, feed, end, fail─ upstream    the answer

Every method here is called from the event loop, returns at once, and raises nothing: what goes wrong is told by
`Downstream.fail` and `Leg.cancel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from micro.gateway.upstream.ports import Upstream

if TYPE_CHECKING:
    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.ports import UpstreamError


class Throttled(Protocol):
    """Somebody who sends, and can be asked to wait."""

    def pause(self) -> None:
        """Send no more until `resume`; what is under way already is taken."""
        ...

    def resume(self) -> None:
        """Go on sending."""
        ...


class Downstream(Throttled, Protocol):
    """The client's side of one exchange. `pause` and `resume` are about the request's body."""

    leg: Leg | None
    """Where to tell of the client, from `start` on. The upstream's to set, to replace, and to take away where nothing that
    is told there would matter any more."""

    def head(self, status: int, fields: list[Pair], length: int | None, *, body: bytes | None = None) -> None:
        """The answer's head, as it came from the instance but for the fields of its connection. `fields` are not to be changed.

        An interim answer (1xx but 101) may come before, any number of times. `length` is the body's, where it is known
        in advance: 0 too where the answer has no body. With a `body`, empty or not, the answer is complete, and nothing
        more is called. After a 101 both sides `feed` each other bytes until one ends.
        """
        ...

    def feed(self, data: bytes) -> None:
        """A piece of the answer's body. Never empty."""
        ...

    def end(self) -> None:
        """The answer is complete. Nothing more is called."""
        ...

    def fail(self, error: UpstreamError) -> None:
        """No answer comes, or no more of the one that began. Nothing more is called."""
        ...


class Leg(Throttled, Protocol):
    """One exchange on its way to an instance. `pause` and `resume` are about the answer's body."""

    def feed(self, data: bytes) -> None:
        """A piece of the request's body. Never empty."""
        ...

    def end(self) -> None:
        """The request is complete."""
        ...

    def close(self) -> None:
        """The gateway stops: end a tunnel so that both sides are told. Nothing for other exchanges, which end by themselves."""
        ...

    def cancel(self) -> None:
        """The client doesn't want the answer any more, or its time is over. Idempotent."""
        ...


class DirectUpstream(Upstream, Protocol):
    """An upstream with a short path."""

    def start(self, exchange: Exchange, downstream: Downstream, *, body: bool) -> None:
        """Begin one exchange, whose policies have all passed at `exchange.began`. `body`: whether one will come, to be ended
        by `Leg.end`.

        It sets `downstream.leg`. May call `downstream` before it returns. The route's deadline is the client's side's to keep, by `Leg.cancel`;
        those of connecting, reading and writing are the upstream's.
        """
        ...
