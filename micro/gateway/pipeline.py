"""A route's policies, compiled into flat tuples of their methods.

A **policy** is an object with up to two methods. `on_request(exchange)` returns nothing to let the request go on, an
`Answer` to end it, or an awaitable of either when it has to wait. `on_response(exchange)` sees the answer's status and
header (`exchange.status`, `exchange.fields`), whoever gave it, and may return a body filter.

The order of a request is fixed, and not the configuration's to change: id and trace, form of the request, host, CORS
preflight; the route; size limit, limit per address, authentication. Answers pass the policies the other way round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from micro.gateway.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.ports import Upstream

Verdict: TypeAlias = "Answer | Awaitable[Answer | None] | None"
OnRequest: TypeAlias = "Callable[[Exchange], Verdict]"
OnResponse: TypeAlias = "Callable[[Exchange], BodyFilter | None]"
Policy: TypeAlias = Any
"""An object with `on_request`, `on_response` or both, and a `__str__` that says what it does, for `explain`."""


class BodyFilter(Protocol):
    """Changes the body of an answer while it passes. One object for each answer."""

    def feed(self, data: bytes) -> bytes:
        """What to send instead of `data`; may be empty."""
        ...

    def end(self) -> bytes:
        """What to send last."""
        ...


class Pipeline:
    """What happens to the requests of one route. Immutable."""

    __slots__ = ("policies", "requests", "responses", "service", "timeout", "upstream")

    def __init__(
        self,
        before: Sequence[Policy],
        policies: Sequence[Policy],
        *,
        upstream: Upstream,
        service: str,
        timeout: float,
    ) -> None:
        """`before` are the policies that a request has passed when its route is known; answers pass them all."""
        self.policies = tuple(policies)
        self.requests = methods(policies, "on_request")
        self.responses = methods((*before, *policies), "on_response")[::-1]
        self.upstream = upstream
        self.service = service
        """The service's name; empty where the gateway answers itself."""
        self.timeout = timeout
        """Seconds for the whole exchange; 0 for no limit."""


def methods(policies: Sequence[Policy], name: str) -> tuple[Any, ...]:
    """The bound methods of that name, in order, of the policies that have one."""
    return tuple(getattr(policy, name) for policy in policies if hasattr(policy, name))


def admit(checks: tuple[OnRequest, ...], exchange: Exchange) -> Verdict:
    """Run the checks in order until one answers. Awaitable only where a check had to wait."""
    for check in checks:
        verdict = check(exchange)
        if verdict is not None:
            if verdict.__class__ is Answer:
                return verdict
            return _wait(verdict, checks[checks.index(check) + 1 :], exchange)  # type: ignore[arg-type] # no Answer: an awaitable
    return None


async def _wait(
    verdict: Awaitable[Answer | None], rest: tuple[OnRequest, ...], exchange: Exchange
) -> Answer | None:
    answer = await verdict
    if answer is not None:
        return answer
    later = admit(rest, exchange)
    return await later if later is not None and not isinstance(later, Answer) else later


def release(hooks: tuple[OnResponse, ...], exchange: Exchange) -> Sequence[BodyFilter]:
    """Show the answer's head to the policies; the body filters they ask for, in the order of application."""
    filters: tuple[BodyFilter, ...] = ()
    for hook in hooks:
        wanted = hook(exchange)
        if wanted is not None:
            filters = (*filters, wanted)
    return filters
