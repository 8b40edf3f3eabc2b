"""A route's policies, compiled into flat tuples of their methods.

A **policy** is an object with up to three methods. `on_request(exchange)` returns nothing to let the request go on, an
`Answer` to end it, or an awaitable of either when it has to wait: within the route's time, which counts from the request
on, and as long as the client is there. `on_response(exchange)` sees the answer's status and header (`exchange.status`,
`exchange.fields`), whoever gave it, and may return a body filter. `on_end(exchange)` is called once, when the exchange
has ended and is recorded.

The order of a request is fixed, and not the configuration's to change: id and trace, form of the request, host, CORS
preflight; the route; size limit, limits per address, authentication, authorization, limits per user or key, changes of
path and header, policies of the user's own; the upstream. Answers pass the policies the other way round.

A policy need not see what it has seen before, where its class says so (what a class that it stems from says doesn't count):

- `by_head = True`: `on_request` reads nothing but the request's head, and writes nothing into the exchange (but for the
  gateway's own, whose writing `known.Way` repeats). A head that it has let pass once is not shown to it again; to the
  gateway's own, neither is the same header with another plain path of the same route.
- `steady = True`: `on_response` makes the same of the same answer, for the same policies and scheme, and asks for no filter.
- `adds = True`, for the gateway's own: `on_response` does nothing but append to the answer's fields, whatever is among
  them, what the exchange has as ready lines: `ids` or `quota`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from micro.gateway.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.direct import DirectUpstream
    from micro.gateway.upstream.ports import Upstream

Verdict: TypeAlias = "Answer | Awaitable[Answer | None] | None"
OnRequest: TypeAlias = "Callable[[Exchange], Verdict]"
OnResponse: TypeAlias = "Callable[[Exchange], BodyFilter | None]"
OnEnd: TypeAlias = "Callable[[Exchange], None]"
Policy: TypeAlias = Any
"""An object with `on_request`, `on_response`, `on_end` or some of them, and a `__str__` that says what it does, for `explain`."""

_OWN = "micro.gateway.policies."


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

    __slots__ = (
        "adding",
        "asked",
        "blamed",
        "direct",
        "ends",
        "foreign",
        "policies",
        "requests",
        "responses",
        "service",
        "steady",
        "timeout",
        "upstream",
    )

    def __init__(
        self,
        before: Sequence[Policy],
        policies: Sequence[Policy],
        *,
        upstream: Upstream,
        service: str,
        timeout: float,
        short: bool = True,
    ) -> None:
        """`before` are the policies that a request has passed when its route is known; answers pass them all.

        `short`: whether the upstream's short path is taken where it has one.
        """
        self.policies = tuple(policies)
        self.requests = methods(policies, "on_request")
        self.asked: tuple[OnRequest, ...] = methods(
            [policy for policy in (*before, *policies) if not _says(policy, "by_head")], "on_request"
        )
        """What is left to ask where a request's head has passed everything before."""
        self.responses = methods((*before, *policies), "on_response")[::-1]
        self.ends: tuple[OnEnd, ...] = methods((*before, *policies), "on_end")
        """Told when an exchange has ended."""
        self.foreign = not all(type(policy).__module__.startswith(_OWN) for policy in (*before, *policies))
        """Whether a policy of somebody else's is among them: what it writes into an answer is checked before it is sent."""
        answering = [policy for policy in (*before, *policies) if hasattr(policy, "on_response")]
        steady = [policy for policy in answering if _says(policy, "steady")]
        self.steady: tuple[OnResponse, ...] = methods(steady, "on_response")[::-1]
        adding = sum(_says(policy, "adds") for policy in answering)
        self.adding = not self.foreign and len(steady) + adding == len(answering)
        """Whether nothing is left to do with an answer's head that the steady policies have seen before, but to add lines to
        it; or else it must be seen by all."""
        self.upstream = upstream
        self.direct: DirectUpstream | None = upstream if short and hasattr(upstream, "start") else None  # type: ignore[assignment] # what `start` tells
        """The upstream, where requests may go to it by the short path."""
        self.service = service
        """The service's name; empty where the gateway answers itself."""
        self.blamed = service or "an endpoint of the gateway's own"
        """What the log says that an answer is missing from."""
        if hasattr(upstream, "middleware"):
            self.blamed += ", or middleware in front of it,"
        self.timeout = timeout
        """Seconds for the whole exchange; 0 for no limit."""


def _says(policy: Policy, name: str) -> bool:
    """What a policy's own class says, and no class that it stems from: who changes a method has to say it again."""
    return bool(vars(type(policy)).get(name))


def methods(policies: Sequence[Policy], name: str) -> tuple[Any, ...]:
    """The bound methods of that name, in order, of the policies that have one."""
    return tuple(getattr(policy, name) for policy in policies if hasattr(policy, name))


def admit(checks: tuple[OnRequest, ...], exchange: Exchange) -> Verdict:
    """Run the checks in order until one answers. Awaitable only where a check had to wait."""
    for check in checks:
        verdict = check(exchange)
        if verdict is not None:
            return going_on(verdict, check, checks, exchange)
    return None


def going_on(
    verdict: Verdict, check: OnRequest, checks: tuple[OnRequest, ...], exchange: Exchange
) -> Verdict:
    """What comes of all the `checks` where this one of them says something."""
    if isinstance(verdict, Answer) or verdict is None:
        return verdict
    return _wait(verdict, checks[checks.index(check) + 1 :], exchange)


async def _wait(
    verdict: Awaitable[Answer | None], rest: tuple[OnRequest, ...], exchange: Exchange
) -> Answer | None:
    answer = await verdict
    if answer is not None:
        if not isinstance(answer, Answer):
            raise TypeError(f"a policy answered with {type(answer).__name__} instead of an Answer")
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
