"""What must hold between the tables of a stack: names that exist, ports and prefixes that nobody else has, no cycles."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from micro.spec.gateway import PLAIN, Route
from micro.spec.validate import Place, key_path
from micro.stack import BUILT_IN
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from micro.stack import Member, Stack

KINDS = ("service", "app", "command", "url")
"""The keys of a service of which exactly one is set."""

_DRAWN = 12


class Origins:
    """Where each value of a stack was written, for messages."""

    def __init__(self, stack: Stack, origins: Mapping[str, str]) -> None:
        self._origins = origins
        self._source = stack.source

    def at(self, *path: str) -> Place:
        """The place of a key path."""
        return Place(self._origins.get(key_path(path), self._source), path)


def check_stack(stack: Stack, origins: Mapping[str, str]) -> None:
    """Check everything that can be known of a stack before its services are imported.

    Raises `ConfigurationError` with file and key path.
    """
    places = Origins(stack, origins)
    names = frozenset(stack.names)
    if not names:
        raise places.at("services").error("there is none; add [services.NAME], or set stack.builtin = true")
    for member in stack.members:
        _check_kind(member, places)
        for name in member.depends:
            _check_known(name, names, places.at("services", member.name, "depends"))
    for number, route in enumerate(stack.gateway.routes):
        _check_known(route.service, names, places.at("gateway", "routes", str(number), "service"))
    for issuer in stack.gateway.issuers:
        _check_issuer(issuer, names, places.at("gateway", "auth", "issuers"))
    dependency_order(stack.members, places)
    check_ports(stack, places)
    check_routes(stack, places)


def check_ports(stack: Stack, places: Origins) -> None:
    """No two of gateway and services listen on one port. 0, any free port, never collides."""
    gateway = places.at("gateway", "port")
    owners = {stack.gateway.port: ("the gateway", gateway)}
    for member in stack.members:
        if not member.port:
            continue
        owner = (f"service '{member.name}'", places.at("services", member.name, "port"))
        other = owners.setdefault(member.port, owner)
        if other is not owner:
            mine, taken = (other, owner) if owner[1].file == BUILT_IN else (owner, other)
            raise mine[1].error(f"port {member.port} is taken by {taken[0]}")


def check_routes(stack: Stack, places: Origins) -> tuple[Route, ...]:
    """Every route: the gateway's, then one with the defaults for each prefix of a service that isn't listed for it.

    For each path and conditions, every method has one route, and one at most takes the rest of the methods;
    `ConfigurationError` otherwise, and for a route that could not do what it says.
    """
    listed = stack.gateway.routes
    routes = (*listed, *_unlisted(stack))
    taken: dict[tuple[Any, ...], Route] = {}
    for number, route in enumerate(routes):
        path = (
            ("gateway", "routes", str(number))
            if number < len(listed)
            else ("services", route.service, "routes")
        )
        _check_route(route, places.at(*path))
        for method in sorted(route.methods or ()) or (None,):
            first = taken.setdefault((route.path, method, route.conditions), route)
            if first is not route:
                what = f"{method} {route.path}" if method else route.path
                same = "" if route.conditions == PLAIN else " under the same conditions"
                raise places.at(*path).error(f"{what} is a route of service '{first.service}' already{same}")
    return routes


def _unlisted(stack: Stack) -> Iterator[Route]:
    whole = {
        (route.path, route.service)
        for route in stack.gateway.routes
        if route.methods is None and route.conditions == PLAIN
    }
    for member in stack.members:
        for path in dict.fromkeys(member.routes):
            if (path, member.name) not in whole:
                yield Route(path=path, service=member.name)


def _check_route(route: Route, place: Place) -> None:
    if "host" in route.headers:
        raise place.at("headers", "host").error('is not looked at here; write host = "…" beside path')
    if not route.strip_prefix:
        return
    if route.rewrite is not None:
        raise place.error("has strip_prefix and rewrite; give just one")
    if route.path == "/":
        raise place.at("strip_prefix").error("has nothing to take off the path /")


def dependency_order(members: Sequence[Member], places: Origins) -> list[Member]:
    """The members, each after what it depends on. Raises `ConfigurationError` for a cycle, drawn in the message."""
    by_name = {member.name: member for member in members}
    graph = TopologicalSorter({member.name: member.depends for member in members})
    try:
        return [by_name[name] for name in graph.static_order() if name in by_name]
    except CycleError as error:
        loop = error.args[1][::-1]
        drawn = " → ".join(loop if len(loop) < _DRAWN else [*loop[:_DRAWN], "…"])
        raise places.at("services", loop[0], "depends").error(f"depends on itself: {drawn}") from None


def _check_kind(member: Member, places: Origins) -> None:
    given = [kind for kind in KINDS if getattr(member, kind) is not None]
    place = places.at("services", member.name)
    if not given:
        raise place.error(f"needs one of {', '.join(KINDS)}")
    if len(given) > 1:
        raise place.error(f"has {' and '.join(given)}; give just one")
    if member.url is not None:
        _check_elsewhere(member, places)


def _check_elsewhere(member: Member, places: Origins) -> None:
    """A server that micro only sends to can't be told anything."""
    place = places.at("services", member.name)
    if not member.url:
        raise place.at("url").error("must name at least one")
    for key, given in (("port", member.port is not None), ("env", bool(member.env))):
        if given:
            raise places.at("services", member.name, key).error(
                "has no effect on a service that is given by url ="
            )


def _check_known(name: str, names: Collection[str], place: Place) -> None:
    if name not in names:
        raise place.error(f"no service '{name}'{did_you_mean(name, names)}")


def _check_issuer(issuer: str, names: Collection[str], place: Place) -> None:
    kind, _, name = issuer.partition(":")
    if kind == "service" and name:
        _check_known(name, names, place)
    elif issuer != "stack":
        known = ("stack", *(f"service:{name}" for name in names))
        raise place.error(f"'{issuer}' issues no tokens{did_you_mean(issuer, known)}")
