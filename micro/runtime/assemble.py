"""The composition root: from configuration and profile to a system of parts, constructed and not opened.

The runner, the commands and the tests build through the same function; whatever they want otherwise is an argument.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from micro import registry
from micro.bus.events import Events
from micro.clock import SystemClock
from micro.errors import MicroError
from micro.gateway.app import Gateway
from micro.gateway.upstream.caller import LocalCaller
from micro.gateway.upstream.local import LocalUpstream
from micro.ids import new_id
from micro.load import load_stack
from micro.runtime.announce import Announcer
from micro.runtime.health import HealthBoard
from micro.runtime.inprocess import ask
from micro.runtime.instance import Instance
from micro.runtime.keys import StackKeys
from micro.runtime.settings import ALL, Choice
from micro.runtime.system import Hosted, Shared, System
from micro.security.sources import ServiceKeys
from micro.security.tokens import TokenVerifier
from micro.service import Resources
from micro.store.journal import SqliteJournal
from micro.telemetry.access import AccessLog
from micro.telemetry.metrics import Metrics
from micro.web.hosts import Hosts
from micro.web.problems import Problem, problem_response
from micro.web.wrap import ServiceApp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import ASGIApp

    from micro.clock import Clock
    from micro.config import Config
    from micro.profile import Profile
    from micro.security.sources import KeySource
    from micro.service import Caller, Service
    from micro.stack import Stack
    from micro.store.ports import Store

    Create = Callable[..., Any]

_DOCUMENT_SECONDS = 5.0


def assemble(
    config: Config,
    profile: Profile,
    *,
    clock: Clock | None = None,
    services: Mapping[str, Service] | None = None,
    choice: Choice = ALL,
    create: Create = registry.create,
) -> System:
    """Build every part of the stack. Imports the services (those in `services` are taken as given); opens nothing.

    `create` makes back ends, as `micro.registry.create` does; a test passes its own to put fakes in their place.

    Raises `ConfigurationError`, `NotFound` and `MissingExtra`, each with what to do.
    """
    chosen = choice.of(config.stack)
    registry.require_supported(profile)
    registry.require_supported_members(chosen)
    clock = clock or SystemClock()
    began = clock.now().timestamp()
    loaded = load_stack(chosen, services)
    shared = _share(config, profile, stack=loaded.stack, clock=clock, create=create)
    hosted = {
        member.name: _host(shared, member.name, loaded.services[member.name], create)
        for member in loaded.stack.members
    }
    announcer = Announcer(shared.bus, clock=shared.clock)
    board = HealthBoard(
        {name: each.is_well for name, each in hosted.items()}, clock=shared.clock, changed=announcer.tell
    )
    access_log = AccessLog(loaded.stack.state / "logs" / "access.log", clock=shared.clock)
    gateway = Gateway(
        loaded.stack.gateway,
        upstreams=shared.upstreams,
        verifier=shared.verifier,
        window=shared.cache,
        clock=shared.clock,
        access_log=access_log,
        health=board.read,
        documents=partial(_documents, shared.upstreams),
    )
    return System(
        shared=shared,
        services=hosted,
        gateway=gateway,
        access_log=access_log,
        announcer=announcer,
        board=board,
        loaded=began,
        warnings=(*config.warnings, *loaded.warnings),
    )


def build_instance(shared: Shared, service: Service, store: Store | None) -> Instance:
    """One copy of a service on `store`; a reload builds the next one by this, too."""
    clock = shared.clock
    events = None
    if store is not None:
        events = Events(service, store=store, bus=shared.bus, clock=clock, owner=new_id(clock))
    resources = Resources(
        name=service.name,
        clock=clock,
        cache=shared.cache,
        env=shared.config.service_env(service.name),
        verifier=shared.verifier,
        caller=shared.caller,
        store=store,
        outbox=events.outbox if events else None,
    )
    gateway = shared.stack.gateway
    instance = Instance(service, resources=resources, events=events)
    instance.app = ServiceApp(
        cast("ASGIApp", service.app or _nothing),  # loading the service has resolved an import string
        resources,
        metrics=shared.metrics[service.name],
        ready=instance.unready,
        hosts=Hosts(gateway.hosts),
        metrics_public=gateway.metrics_public,
    )
    return instance


def _share(config: Config, profile: Profile, *, stack: Stack, clock: Clock, create: Create) -> Shared:
    journal = None
    arguments: dict[str, Any] = {}
    if not registry.backend_class("bus", profile.bus).features.shared_by_processes:
        journal = arguments["journal"] = SqliteJournal(stack.state / "bus.db")
    bus = create("bus", profile.bus, clock=clock, **arguments)
    cache = create("cache", profile.cache, clock=clock)
    upstreams: dict[str, LocalUpstream] = {}
    keys = StackKeys(stack.state / "keys", clock=clock)
    caller = LocalCaller(upstreams, sign=keys.service_token, clock=clock)
    return Shared(
        config=config,
        profile=profile,
        stack=stack,
        clock=clock,
        backbone=[journal, bus, cache] if journal else [bus, cache],
        bus=bus,
        cache=cache,
        keys=keys,
        upstreams=upstreams,
        caller=caller,
        verifier=TokenVerifier(_key_sources(stack, keys, caller), clock=clock),
        metrics={member.name: Metrics() for member in stack.members},
    )


def _key_sources(stack: Stack, keys: StackKeys, caller: Caller) -> Sequence[KeySource]:
    """Where tokens may come from. The stack itself is always among them: its services prove by its key who they are."""
    names = [issuer.removeprefix("service:") for issuer in stack.gateway.issuers if issuer != "stack"]
    return [keys, *(ServiceKeys(f"micro:{name}", service=name, caller=caller) for name in names)]


def _host(shared: Shared, name: str, service: Service, create: Create) -> Hosted:
    member = shared.stack.member(name)
    store = None
    if member.app is None:
        store = create("store", shared.profile.store_url(name, shared.stack.root), clock=shared.clock)
    instance = build_instance(shared, service, store)
    upstream = shared.upstreams[name] = LocalUpstream(instance)
    return Hosted(member=member, store=store, upstream=upstream, instance=instance)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The app of a service that has none: handlers and workers only."""
    if scope["type"] == "http":
        await problem_response(Problem(404))(scope, receive, send)


async def _documents(upstreams: Mapping[str, LocalUpstream]) -> dict[str, dict[str, Any]]:
    """The OpenAPI document of each service that gives one now."""
    found = await asyncio.gather(*(_document(upstream) for upstream in upstreams.values()))
    return {name: document for name, document in zip(upstreams, found, strict=True) if document}


async def _document(upstream: LocalUpstream) -> dict[str, Any] | None:
    try:
        reply = await ask(upstream.call, "GET", "/openapi.json", timeout=_DOCUMENT_SECONDS)
        document = reply.json() if reply.status == 200 else None
    except (MicroError, ValueError):
        return None
    return document if isinstance(document, dict) else None
