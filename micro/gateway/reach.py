"""By which path a client of the gateway reaches an operation of a service: routes, read backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from micro.gateway.exchange import Exchange
from micro.gateway.paths import MalformedPath, form_of
from micro.gateway.rules import ANY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.pipeline import Pipeline
    from micro.gateway.routes import Router
    from micro.spec.gateway import Route


class Reach:
    """Tells clients' paths from services' own."""

    def __init__(self, rows: Sequence[tuple[Route, Pipeline]], router: Router[Pipeline]) -> None:
        self._router = router
        self._special = [
            (route, pipeline, [policy.back for policy in pipeline.policies if hasattr(policy, "back")])
            for route, pipeline in rows
        ]
        self._special = [
            row for row in self._special if row[2] or row[0].host or row[0].headers or row[0].query
        ]
        self._changing = {id(pipeline) for _, pipeline, backs in self._special if backs}

    def __call__(self, service: str, method: str, path: str) -> str | None:
        """The path by which `method` and `path` of a service are reached; nothing where no route leads there.

        Conditions on host, header and query are taken as met, where it is reached only by such a route.
        """
        plain = self._match(path, Exchange(method, b"/", ()))
        if plain is not None and plain.service == service and id(plain) not in self._changing:
            return path
        for route, pipeline, backs in self._special:
            if route.service == service:
                outside = backs[0](path) if backs else path
                if outside is not None and self._match(outside, sample(route, method)) is pipeline:
                    return outside
        return None

    def _match(self, path: str, request: Exchange) -> Pipeline | None:
        try:
            return self._router.match(form_of(path.encode()), request)
        except MalformedPath:
            return None


def sample(route: Route, method: str) -> Exchange:
    """A request that meets the conditions of a route."""
    given = {name: value if value != ANY else "x" for name, value in route.headers.items()}
    if route.host is not None:
        given["host"] = route.host.replace("*", "x")
    exchange = Exchange(method, b"/", [(name.encode(), value.encode()) for name, value in given.items()])
    exchange.query = urlencode(
        {name: value if value != ANY else "x" for name, value in route.query.items()}
    ).encode()
    return exchange
