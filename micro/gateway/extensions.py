"""What a configuration names by import string: policies of the user's own, and ASGI middleware.

Such a policy is a class with `on_request`, `on_response`, `on_end` or any of them, exactly like those of
`micro.gateway.policies`. It is made with no argument or, where it takes one, with the `Route`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from micro.config.imports import import_target
from micro.gateway.upstream.local import EXCHANGE, scope_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from micro.gateway.exchange import Exchange
    from micro.gateway.pipeline import Policy
    from micro.gateway.upstream.ports import Receive, Send, Upstream
    from micro.service import ASGIApp
    from micro.spec.gateway import GatewaySpec, Route
    from micro.spec.validate import Place

_METHODS = ("on_request", "on_response", "on_end")
_AT_ONCE = ("on_response", "on_end")
"""The methods that nobody waits for."""
_ONWARD = "micro.onward"
"""In a scope: the app behind the middleware of the whole gateway."""


class Extensions:
    """Imports and makes those of one plan. Whatever is wrong with one is a `ConfigurationError` at the key that names it."""

    def __init__(self, spec: GatewaySpec, root: Path, place: Place) -> None:
        """`root` is where modules are looked for first, in messages; `place` the `gateway` table."""
        self._root = root
        self._place = place
        self._short_only = spec.adapter == "protocol"
        self._makers = [self._maker(target, number) for number, target in enumerate(spec.policies)]
        self._outer = self._around(_onward, spec.middleware, place) if spec.middleware else None

    def policies(self, route: Route, number: int) -> list[Policy]:
        """Those of the whole gateway, then those of the route, which has this number among the gateway's.

        One for the whole gateway is the same object on every route, unless it takes the route.
        """
        policies = [make(route) for make in self._makers]
        for index, target in enumerate(route.policies):
            place = self._place.at("routes", str(number), "policies", str(index))
            found = self._imported(target, place)
            given = (route,) if _takes_route(found, target, place) else ()
            policies.append(_made(found, given, target, place))
        return policies

    def behind(self, upstream: Upstream, route: Route, number: int) -> Upstream:
        """The upstream behind the middleware of gateway and route; itself where there is none.

        Every upstream has `call` beside the port's method, for requests with a scope of the caller's own.
        """
        if not route.middleware and self._outer is None:
            return upstream
        place = self._place.at("routes", str(number)) if route.middleware else self._place
        if self._short_only:
            raise place.at("middleware").error('needs ASGI, which adapter = "protocol" rules out')
        app: ASGIApp = upstream.call  # type: ignore[attr-defined] # as said above
        return Behind(self._around(app, route.middleware, place), self._outer)

    def _around(self, app: ASGIApp, targets: Sequence[str], place: Place) -> ASGIApp:
        """`app` behind the middleware that is named at `place`, the first outermost."""
        for number, target in reversed(list(enumerate(targets))):
            spot = place.at("middleware", str(number))
            app = _called(self._imported(target, spot), (app,), target, spot)
            if not callable(app):
                raise spot.error(f"{target} is no ASGI middleware: what it makes of an app can't be called")
        return app

    def _maker(self, target: str, number: int) -> Callable[[Route], Policy]:
        place = self._place.at("policies", str(number))
        found = self._imported(target, place)
        if _takes_route(found, target, place):
            return lambda route: _made(found, (route,), target, place)
        policy = _made(found, (), target, place)
        return lambda _: policy

    def _imported(self, target: str, place: Place) -> Any:
        found = import_target(target, self._root, place)
        if not callable(found):
            raise place.error(f"{target} can't be called; name a class")
        return found


class Behind:
    """An upstream behind ASGI middleware, which sees what the application would: see `local.scope_of`."""

    __slots__ = ("_app", "_outer")

    middleware = True
    """What is missing from an answer may be its fault."""

    def __init__(self, app: ASGIApp, outer: ASGIApp | None) -> None:
        """`outer` is the middleware of the whole gateway; none where there is none."""
        self._app = app
        self._outer = outer

    def serve(self, exchange: Exchange, receive: Receive, send: Send) -> Awaitable[None]:
        """See `Upstream.serve`."""
        scope = scope_of(exchange)
        scope[EXCHANGE] = exchange
        if self._outer is None:
            return self._app(scope, receive, send)
        return self._outer({**scope, _ONWARD: self._app}, receive, send)


async def _onward(scope: Any, receive: Receive, send: Send) -> None:
    """The innermost app of the middleware of the whole gateway: goes on with the route's own."""
    rest = dict(scope)
    await rest.pop(_ONWARD)(rest, receive, send)


def _takes_route(found: Any, target: str, place: Place) -> bool:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # written in C
        return False
    placed = [each for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    needed = [
        each
        for each in parameters
        if each.default is each.empty and each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD}
    ]
    if len(needed) > 1 or any(each not in placed[:1] for each in needed):
        raise place.error(f"{target} needs more than a policy is given: nothing, or the route")
    return bool(placed)


def _made(found: Any, given: tuple[Any, ...], target: str, place: Place) -> Policy:
    policy = _called(found, given, target, place)
    if not any(hasattr(policy, name) for name in _METHODS):
        raise place.error(f"{target} is no policy: it has neither on_request nor on_response")
    for name in _AT_ONCE:
        if inspect.iscoroutinefunction(getattr(policy, name, None)):
            raise place.error(f"{target}: {name} must not be async; only on_request may wait")
    return policy


def _called(found: Any, given: tuple[Any, ...], target: str, place: Place) -> Any:
    try:
        return found(*given)
    except Exception as error:
        raise place.error(f"{target} can't be made: {type(error).__name__}: {error}") from error
