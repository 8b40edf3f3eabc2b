"""From the tables of a stack to its services: import, merge, check."""

from __future__ import annotations

import sys
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from micro.config.imports import import_target
from micro.config.topology import Origins, check_ports, check_routes, dependency_order
from micro.errors import NotFound
from micro.service import Service
from micro.spec.terms import Port, RoutePath
from micro.spec.validate import Place, check
from micro.suggest import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from micro.service import ASGIApp
    from micro.stack import Member, Stack

SYSTEM_EVENTS = "system.events"
"""The topic that the stack itself publishes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedStack:
    """A stack whose services are imported."""

    stack: Stack
    """Complete: every service has a port (except a `url`), and `gateway.routes` holds every route."""
    services: Mapping[str, Service]
    """By name, in the order of the stack. Members by `command` or `url` are not in it."""
    warnings: tuple[str, ...]
    """For example a subscription to an event that no service publishes."""


def load_service(member: Member, stack: Stack) -> Service:
    """Import one service and apply its table; the Service as declared stays as it is.

    The result has its `app` resolved (a callable, or `None` for a service without one), `migrations` an absolute path
    (or `None`), `routes` and `port` from the table where it sets them. A member with `app =` becomes a Service without
    migrations and handlers. Puts the stack's folder on `sys.path`.

    Raises `ConfigurationError` with the table's file and key: the import failed (with the error's last line and
    place), no such name, not a Service or ASGI app, another name than the table's, no folder of migrations.
    """
    target = member.service or member.app
    place = Place(stack.source, ("services", member.name, "service" if member.service else "app"))
    if target is None:
        raise place.error("there is nothing to import: this service is not a Python one")
    _find_modules_of(stack)
    found = import_target(target, stack.root, place)
    declared = Service(member.name, app=_checked_app(found, target, place)) if member.app else found
    if not isinstance(declared, Service):
        raise place.error(f'{target} is not a Service; for a plain ASGI app write app = "{target}"')
    if declared.name != member.name:
        raise place.error(f"{target} is called '{declared.name}'; give the table and the Service one name")
    service = copy(declared)
    service.handlers, service.backgrounds = list(declared.handlers), list(declared.backgrounds)
    code = Place(target)
    service.routes = member.routes or check(list(declared.routes), tuple[RoutePath, ...], code.at("routes"))
    service.port = member.port if member.port is not None else _checked_port(declared, code)
    if isinstance(declared.app, str):
        app = import_target(declared.app, stack.root, code.at("app"))
        service.app = _checked_app(app, declared.app, code.at("app"))
    service.migrations = _migrations(declared, target, code)
    return service


def load_stack(stack: Stack, services: Mapping[str, Service] | None = None) -> LoadedStack:
    """Import every service of the stack (those in `services` are taken as given) and complete the stack with them.

    Puts the stack's folder on `sys.path` for policies and middleware, too; the gateway imports those.

    Raises `ConfigurationError` as `load_service` does, and for two services with one port or one route.
    """
    given = services or {}
    if stack.gateway.extensions:
        _find_modules_of(stack)
    loaded = {
        member.name: given.get(member.name) or load_service(member, stack)
        for member in stack.members
        if member.name in given or member.service or member.app
    }
    origins: dict[str, str] = {}
    for member in stack.members:
        if member.service and not member.routes:
            origins[f"services.{member.name}.routes"] = member.service
        if member.service and member.port is None:
            origins[f"services.{member.name}.port"] = member.service
    places = Origins(stack, origins)
    full = replace(
        stack, members=_with_ports([_completed(member, loaded) for member in stack.members], stack)
    )
    check_ports(full, places)
    full = replace(full, gateway=replace(full.gateway, routes=check_routes(full, places)))
    return LoadedStack(
        stack=full, services=loaded, warnings=() if stack.partial else tuple(_unpublished(loaded))
    )


def select(stack: Stack, names: Collection[str], *, depends: bool = True) -> Stack:
    """The stack with just these services, and those they depend on unless `depends` is false; all for no names.

    Routes and token issuers of services left out are left out too. The members come in an order in which each follows
    what it depends on. Raises `NotFound` for an unknown name.
    """
    members = {member.name: member for member in stack.members}
    for name in names:
        if name not in members:
            raise NotFound(f"no service '{name}'{did_you_mean(name, members)}")
    wanted: set[str] = set()
    waiting = list(names or members)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += members[name].depends if depends else ()
    gateway = replace(
        stack.gateway,
        routes=tuple(route for route in stack.gateway.routes if route.service in wanted),
        issuers=tuple(
            issuer
            for issuer in stack.gateway.issuers
            if issuer == "stack" or issuer.removeprefix("service:") in wanted
        ),
    )
    ordered = dependency_order(stack.members, Origins(stack, {}))
    chosen = tuple(member for member in ordered if member.name in wanted)
    return replace(stack, members=chosen, gateway=gateway, partial=len(chosen) < len(members))


def _find_modules_of(stack: Stack) -> None:
    if str(stack.root) not in sys.path:
        sys.path.insert(0, str(stack.root))


def _checked_app(app: object, target: str, place: Place) -> ASGIApp:
    if isinstance(app, Service):
        raise place.error(f'{target} is a Service; write service = "{target}"')
    if not callable(app):
        raise place.error(f"{target} is not an ASGI app: it can't be called")
    return cast("ASGIApp", app)


def _checked_port(declared: Service, code: Place) -> int | None:
    return None if declared.port is None else cast("int", check(declared.port, Port, code.at("port")))


def _migrations(declared: Service, target: str, code: Place) -> str | None:
    if declared.migrations is None:
        return None
    module = sys.modules[target.partition(":")[0]]
    folder = Path(module.__file__ or "").absolute().parent / declared.migrations
    if not folder.is_dir():
        raise code.at("migrations").error(f"no folder {folder}; the path is relative to the module's folder")
    return str(folder)


def _completed(member: Member, loaded: Mapping[str, Service]) -> Member:
    service = loaded.get(member.name)
    if service is None:
        return member
    port = member.port if member.port is not None else service.port
    return replace(member, port=port, routes=member.routes or service.routes)


def _with_ports(members: list[Member], stack: Stack) -> tuple[Member, ...]:
    """Give each member without a port the first one above the gateway's that nobody has, in the order of the file."""
    first = stack.gateway.port
    taken = {member.port for member in members}
    free = (port for port in range(first + 1, 65536) if port not in taken)
    return tuple(
        member if member.port is not None or member.url else replace(member, port=next(free) if first else 0)
        for member in members
    )


def _unpublished(loaded: Mapping[str, Service]) -> Iterator[str]:
    published = {(kind.__name__, kind.topic) for service in loaded.values() for kind in service.publishes}
    names = {name for name, _ in published}
    for service in loaded.values():
        for handler in service.handlers:
            if handler.topic == SYSTEM_EVENTS or (handler.type, handler.topic) in published:
                continue
            topics = ", ".join(sorted(topic for name, topic in published if name == handler.type))
            near = None if topics else nearest(handler.type, names)
            hint = f"; it is published on {topics}" if topics else f"; did you mean {near}?" if near else ""
            yield f"{service.name}: no service publishes {handler.type} on {handler.topic}{hint}"
