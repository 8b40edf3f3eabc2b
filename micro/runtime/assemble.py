"""The composition root: from configuration and profile to a system of parts, constructed and not opened.

The runner, the commands and the tests build through the same function; whatever they want otherwise is an argument.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from micro import registry
from micro.bus.events import Events
from micro.cache.namespace import Namespace
from micro.clock import SystemClock
from micro.config.load import load_stack
from micro.gateway.app import Gateway
from micro.gateway.deadlines import Wheel
from micro.gateway.upstream.caller import LocalCaller
from micro.gateway.upstream.local import LocalUpstream
from micro.ids import new_id
from micro.runtime.announce import Announcer
from micro.runtime.documents import Documents
from micro.runtime.health import DEGRADED, HEALTHY, VERDICTS, HealthBoard
from micro.runtime.instance import Instance
from micro.runtime.keys import StackKeys
from micro.runtime.settings import ALL, Choice
from micro.runtime.system import Hosted, Shared, System
from micro.security.peers import TrustedPeers
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
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp

    from micro.clock import Clock
    from micro.config.load import LoadedStack
    from micro.config.read import Config
    from micro.gateway.upstream.network import NetworkUpstream
    from micro.profile import Profile
    from micro.runtime.remote import Remote
    from micro.security.sources import KeySource
    from micro.service import Caller, Service
    from micro.stack import Stack
    from micro.store.ports import Store

    Create = Callable[..., Any]


def assemble(
    config: Config,
    profile: Profile,
    *,
    clock: Clock | None = None,
    services: Mapping[str, Service] | None = None,
    choice: Choice = ALL,
    create: Create | None = None,
) -> System:
    """Build every part of the stack. Imports the services (those in `services` are taken as given); opens nothing.

    `create` makes back ends, as `micro.registry.create` does; a test passes its own to put fakes in their place.

    Raises `ConfigurationError`, `NotFound` and `MissingExtra`, each with what to do.
    """
    chosen = choice.of(config.stack)
    clock = clock or SystemClock()
    began = clock.now().timestamp()
    loaded = load_stack(chosen, services)
    # Looked up now: the module of a service may have put another in its place.
    create = create or registry.create
    shared = _share(config, profile, stack=loaded.stack, instance=choice.instance, clock=clock, create=create)
    hosted = _hosts(shared, loaded, create)
    announcer = Announcer(shared.bus, clock=shared.clock)
    wheel, metrics = Wheel(clock), Metrics()
    board = HealthBoard(
        {name: each.is_well for name, each in hosted.items()}, clock=shared.clock, changed=announcer.tell
    )

    def announce(service: str, instance: str, state: str) -> None:
        if not (
            remotes[service].own and state in VERDICTS
        ):  # whoever runs those instances tells that of them
            announcer.tell_of(service, instance, state)
        board.look()

    remotes = _remotes(shared, announce, wheel=wheel, metrics=metrics)
    for name, remote in remotes.items():
        board.follow(name, remote.verdict)
    watch_cache(shared.cache, board, metrics)
    access_log = AccessLog(loaded.stack.state / "logs" / "access.log", clock=shared.clock)
    return System(
        shared=shared,
        services=hosted,
        remotes=remotes,
        gateway=_gateway(shared, access_log=access_log, board=board, wheel=wheel, metrics=metrics),
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
        events = Events(service, store=store, bus=shared.bus, clock=clock, owner=shared.process)
    resources = Resources(
        name=service.name,
        clock=clock,
        cache=Namespace(shared.cache, service.name, clock=clock),
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
        hosts=shared.hosts,
        metrics_public=gateway.metrics_public,
    )
    if gateway.trusted_proxies:
        instance.app.peers = TrustedPeers(gateway.trusted_proxies)
    return instance


def _share(
    config: Config, profile: Profile, *, stack: Stack, instance: str | None, clock: Clock, create: Create
) -> Shared:
    journal = None
    arguments: dict[str, Any] = {}
    if not registry.backend_class("bus", profile.bus).features.shared_by_processes:
        journal = arguments["journal"] = SqliteJournal(stack.state / "bus.db")
    elif instance is not None and registry.scheme_of(profile.bus) == "kafka":
        arguments["instance"] = instance  # it keeps lists of its members
    bus = create("bus", profile.bus, clock=clock, **arguments)
    upstreams: dict[str, LocalUpstream | NetworkUpstream] = {}
    keys = StackKeys(stack.state / "keys", clock=clock, environ=config.environment)
    apart = {}
    if registry.backend_class("cache", profile.cache).features.shared_by_processes:
        apart["stack"] = keys.identity(stack.name)
    cache = create("cache", profile.cache, clock=clock, **apart)
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
        verifier=_verifier(stack, keys, caller, clock=clock),
        hosts=Hosts(stack.gateway.hosts, more=stack.gateway.routed_hosts),
        metrics={member.name: Metrics() for member in stack.members},
        process=instance or new_id(clock),
    )


def _verifier(stack: Stack, keys: StackKeys, caller: Caller, *, clock: Clock) -> TokenVerifier:
    """Knows where tokens may come from. The stack itself is always there: its services prove by its key who they are."""
    names = [issuer.removeprefix("service:") for issuer in stack.gateway.issuers if issuer != "stack"]
    sources: list[KeySource] = [keys]
    sources += [ServiceKeys(f"micro:{name}", service=name, caller=caller) for name in names]
    if not stack.gateway.providers:
        return TokenVerifier(sources, clock=clock)
    from micro.security.providers import provided  # noqa: PLC0415 # loaded when first used: most stacks have none

    others, rules = provided(stack.gateway.providers)
    return TokenVerifier([*sources, *others], clock=clock, rules=rules)


def _host(shared: Shared, name: str, service: Service, create: Create) -> Hosted:
    member = shared.stack.member(name)
    store = None
    if member.app is None:
        store = create("store", shared.profile.store_url(name, shared.stack.root), clock=shared.clock)
    instance = build_instance(shared, service, store)
    upstream = LocalUpstream(instance)
    shared.upstreams[name] = upstream
    return Hosted(member=member, store=store, upstream=upstream, instance=instance)


def _hosts(shared: Shared, loaded: LoadedStack, create: Create) -> dict[str, Hosted]:
    """The members that are apps of this process."""
    return {
        member.name: _host(shared, member.name, loaded.services[member.name], create)
        for member in loaded.stack.members
        if member.name in loaded.services
    }


def _remotes(
    shared: Shared, announce: Callable[[str, str, str], None], *, wheel: Wheel, metrics: Metrics
) -> dict[str, Remote]:
    """The members that are no app of this process, among the upstreams, too."""
    members = [each for each in shared.stack.members if each.command or each.url is not None]
    if not members:
        return {}
    from micro.runtime.remote import Remote  # noqa: PLC0415 - loaded by the stacks that have such members

    root = shared.stack.root
    sign = partial(shared.keys.service_token, next(iter(shared.upstreams), "gateway"))
    remotes = {
        each.name: Remote(each, root=root, wheel=wheel, metrics=metrics, announce=announce, sign=sign)
        for each in members
    }
    shared.upstreams.update((name, remote.upstream) for name, remote in remotes.items())
    return remotes


def watch_cache(cache: Any, board: HealthBoard, metrics: Metrics) -> None:
    """Tell, in health and metrics, while a cache on a server is out of reach: each gateway counts its share then."""
    if hasattr(cache, "degraded"):
        board.watch("cache", lambda: DEGRADED if cache.degraded else HEALTHY)
        gauge = metrics.gauge("micro_cache_degraded", "1 while each gateway counts its share of the limits.")
        gauge.labels().watch(lambda: float(cache.degraded))
        gauge = metrics.gauge(
            "micro_cache_share", "The part of each limit that this gateway allows by itself."
        )
        gauge.labels().watch(lambda: float(cache.share))


def _gateway(
    shared: Shared, *, access_log: AccessLog, board: HealthBoard, wheel: Wheel, metrics: Metrics
) -> Gateway:
    return Gateway(
        shared.stack.gateway,
        upstreams=shared.upstreams,
        verifier=shared.verifier,
        window=shared.cache,
        clock=shared.clock,
        access_log=access_log,
        health=board.read,
        documents=Documents(shared.upstreams, board.verdicts, clock=shared.clock).read,
        metrics=metrics,
        wheel=wheel,
        signer=shared.keys,
        root=shared.stack.root,
        source=shared.stack.source,
    )


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """The app of a service that has none: handlers and workers only."""
    if scope["type"] == "http":
        await problem_response(Problem(404))(scope, receive, send)
