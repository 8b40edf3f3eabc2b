"""What an author of policies writes, as type checkers see it. Checked by mypy, never run.

A line with `type: ignore` is a mistake that the types must catch: mypy fails when it no longer does.
"""

from __future__ import annotations

from typing import assert_type

from micro import Identity
from micro.gateway import Answer, BodyFilter, Exchange, Route, refuse


class Tenants:
    """Takes the route, refuses by itself, and changes the answer's head."""

    def __init__(self, route: Route) -> None:
        self.path = assert_type(route.path, str)

    def on_request(self, exchange: Exchange) -> Answer | None:
        """Every shape that a policy reads."""
        assert_type(exchange.found.get(b"x-tenant"), bytes | None)
        assert_type(exchange.method, str)
        assert_type(exchange.path, bytes)
        assert_type(exchange.identity, Identity | None)
        exchange.path = "/text"  # type: ignore[assignment] # bytes, as on the wire
        if exchange.client == "203.0.113.7":
            return Answer(204, [(b"x-why", b"no")])
        return refuse(exchange, 403, detail="Name a tenant.")

    def on_response(self, exchange: Exchange) -> BodyFilter | None:
        """A filter is any object with these two methods."""
        exchange.fields.append((b"x-tenant", b"blue"))
        exchange.fields.append(("x-tenant", "blue"))  # type: ignore[arg-type] # bytes
        return Upper()


class Upper:
    """A body filter."""

    def feed(self, data: bytes) -> bytes:
        """A piece of the body."""
        return data.upper()

    def end(self) -> bytes:
        """Nothing more."""
        return b""
