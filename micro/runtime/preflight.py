"""Asks every server of a profile, before anything relies on it: is it there, is it recent enough, may we work there?

All are asked side by side, each for a bounded time. Nothing stays open, and nothing is changed but what is asked for: with
`migrate`, databases are made and brought up to date.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from micro import registry
from micro.backend import Checkup
from micro.config.load import SYSTEM_EVENTS
from micro.errors import MicroError, UsageError
from micro.redact import redact_text
from micro.runtime.databases import bring_up_to_date, migrations_of
from micro.runtime.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from micro.clock import Clock
    from micro.config.load import LoadedStack
    from micro.profile import Profile
    from micro.registry import Port
    from micro.service import Service

LIMIT = 8.0
"""Seconds that a server gets to answer."""
_DEAD_LETTERS = ".dlq"
_MOST_TEXT = 300
_NAMES = frozenset('/"')
"""What is around names in messages: they are part of an address, or quoted."""


@dataclass(frozen=True, slots=True)
class _Database:
    """What was found at one service's database."""

    service: str
    server: str = ""
    lacks: str = ""
    pending: int = 0
    applied: int = 0
    error: str = ""


class Preflight:
    """Construct, `run`. With `migrate`, databases are made and migrated; without, pending migrations are a failure."""

    def __init__(
        self,
        profile: Profile,
        loaded: LoadedStack,
        *,
        clock: Clock,
        migrate: bool = False,
        create: Callable[..., Any] = registry.create,
    ) -> None:
        self._profile = profile
        self._loaded = loaded
        self._clock = clock
        self._migrate = migrate
        self._create = create
        self.durable = True
        """Whether every server that was asked keeps what it has acknowledged through a power cut."""

    async def run(self) -> list[Finding]:
        """A line for each server, secrets hidden; none for what is no server. Raises nothing for what it finds."""
        asked: dict[Port, Callable[[], Awaitable[list[Finding]]]] = {
            "store": self._store,
            "bus": self._bus,
            "cache": self._cache,
        }
        wanted = [ask for port, ask in asked.items() if port in self._profile.servers]
        return list(chain(*await asyncio.gather(*(ask() for ask in wanted))))

    async def _store(self) -> list[Finding]:
        members = self._loaded.stack.members
        services = {
            each.name: each for each in members if each.service and each.name in self._loaded.services
        }
        works = (self._database(name, self._loaded.services[name]) for name in services)
        return list(self._told(await asyncio.gather(*works)))

    async def _bus(self) -> list[Finding]:
        topics = topics_of(self._loaded.services)
        return await self._server("bus", lambda bus: bus.check(topics))

    async def _cache(self) -> list[Finding]:
        return await self._server("cache", lambda cache: cache.check())

    async def _server(self, port: Port, check: Callable[[Any], Awaitable[Any]]) -> list[Finding]:
        async def ask() -> list[Finding]:
            backend = self._create(port, getattr(self._profile, port), clock=self._clock)
            if not hasattr(backend, "check"):  # a third party's need not have it
                return []
            async with asyncio.timeout(LIMIT):
                found = await check(backend)
            self.durable &= found.durable
            return [_failed(port, found.lacks) if found.lacks else Finding(port, "ok", found.server)]

        found, error = await _sentence(ask())
        return [_failed(port, error)] if error else found

    async def _database(self, name: str, service: Service) -> _Database:
        found, error = await _sentence(self._look(name, service))
        return _Database(name, error=error) if error else found

    async def _look(self, name: str, service: Service) -> _Database:
        url = self._profile.store_url(name, self._loaded.stack.root)
        store = self._create("store", url, clock=self._clock)
        async with asyncio.timeout(LIMIT):
            if self._migrate and hasattr(store, "provision"):
                await store.provision()
            server, lacks, durable = await store.check() if hasattr(store, "check") else Checkup("")
        self.durable &= durable
        try:
            async with asyncio.timeout(LIMIT):
                await store.open()
            if self._migrate:
                applied = len(await bring_up_to_date(service, store, self._clock))
                return _Database(name, server, applied=applied)
            states = await migrations_of(service, store)
        finally:
            await store.close()
        return _Database(name, server, lacks, pending=sum(state.applied_at is None for state in states))

    def _told(self, databases: Sequence[_Database]) -> Iterable[Finding]:
        """One line for all that share a server and a fate."""
        failed = [each for each in databases if each.error]
        for text, names in _grouped((each.service, each.error) for each in failed):
            yield _failed("store", f"{text} ({names})" if "{service}" in text else text)
        pending = [each for each in databases if each.pending]
        if pending:
            yield self._pending(pending)
        well = [each for each in databases if not each.error and not each.pending]
        for text, names in _grouped((each.service, each.server) for each in well if each.server):
            applied = sum(each.applied for each in well)
            yield Finding(
                "store", "ok", f"{text} ({names})" + (f"; {_count(applied)} applied" if applied else "")
            )

    def _pending(self, databases: Sequence[_Database]) -> Finding:
        names = ", ".join(each.service for each in databases)
        lacks = "".join(f"; {each.lacks}" for each in databases[:1] if each.lacks)
        count = sum(each.pending for each in databases)
        verb = "is" if count == 1 else "are"
        return _failed(
            "store",
            f"{_count(count)} of {names} {verb} pending{lacks}; apply with: micro db migrate {_flag(self._profile)}",
        )


def topics_of(services: Mapping[str, Service]) -> dict[str, set[str]]:
    """Every topic that the services need, and what for: `read` what they handle, `write` what they publish and dead letters."""
    handled = {handler.topic for service in services.values() for handler in service.handlers}
    published = {event.topic for service in services.values() for event in service.publishes}
    written = {SYSTEM_EVENTS, *published, *(topic + _DEAD_LETTERS for topic in handled)}
    uses: dict[str, set[str]] = {}
    for use, topics in (("read", handled), ("write", written)):
        for topic in topics:
            uses.setdefault(topic, set()).add(use)
    return uses


def refusal(findings: Sequence[Finding]) -> UsageError | None:
    """What to raise for what has failed: one line, or two."""
    failed = [finding.detail for finding in findings if finding.state == "fail"]
    return UsageError("\n".join(filter(None, (failed[0], "; ".join(failed[1:]))))) if failed else None


async def _sentence(work: Awaitable[Any]) -> tuple[Any, str]:
    """What `work` gives, and no error; or why it gives nothing, in one line."""
    try:
        return await work, ""
    except TimeoutError:
        return None, f"no answer within {LIMIT:g} s"
    except MicroError as error:
        text = str(error)
    except Exception as error:  # noqa: BLE001 # a server of another kind makes a driver fail in whatever way
        text = f"the server's answer makes no sense ({type(error).__name__}: {error})"
    return None, " ".join(redact_text(text).split())[:_MOST_TEXT]


def _failed(port: str, text: str) -> Finding:
    return Finding(port, "fail", text if text.startswith(port) else f"{port}: {text}")


def _grouped(texts: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Texts that differ in nothing but the service's name, as one with `{service}`; and the names."""
    groups: dict[str, list[str]] = {}
    for name, text in texts:
        words = (word.replace(name, "{service}") if {*word} & _NAMES else word for word in text.split(" "))
        groups.setdefault(" ".join(words), []).append(name)
    return ((text, ", ".join(names)) for text, names in groups.items())


def _count(number: int) -> str:
    return f"{number} migration{'s' * (number != 1)}"


def _flag(profile: Profile) -> str:
    return f"--{profile.name}" if profile.name in {"dev", "prod"} else f"--profile {profile.name}"
