"""One service by itself, on a real database in a temporary folder, in the hands of a test."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import micro.bus.migrations
from micro.bus.codec import decode
from micro.bus.message import CloudEvent, Message
from micro.bus.origin import Origin
from micro.bus.outbox import Outbox
from micro.cache.memory import MemoryCache
from micro.cache.namespace import Namespace
from micro.context import Context, current
from micro.errors import ConfigurationError
from micro.service import Resources
from micro.store.migrate import load_migrations, migrate
from micro.store.sqlite import SqliteStore
from micro.telemetry.metrics import Metrics
from micro.testing.asgi import AsgiClient
from micro.testing.clock import FakeClock
from micro.testing.fakes import FakeCaller, FakeVerifier
from micro.web.wrap import ServiceApp

if TYPE_CHECKING:
    from types import TracebackType

    from micro.service import Service
    from micro.store.ports import Store

MAX_EVENT_BYTES = 1_000_000
_REPLACEABLE = frozenset(field.name for field in fields(Resources)) - {"name"}


class ServiceHarness:
    """A service with its resources, migrated, its app wrapped as the runner wraps it; nothing runs in the background.

        async with ServiceHarness(service, tmp_path) as harness:
            answer = await harness.as_user("ana").post("/tasks", json={"title": "Milk"})
            assert [event.type for event in await harness.emitted()] == ["TaskCreatedEvent"]

    Time is a `FakeClock` (`harness.clock`), tokens are made by `harness.token`, other services by `harness.caller`, and
    the database is SQLite in `folder`. Replace any of `clock`, `cache`, `env`, `verifier`, `caller`, `store` and `outbox`
    by keyword; any other name is a `TypeError`. A store that is passed in must be open and is not closed.

    A relative folder of migrations is looked up beside the module that holds `service`; for a service that no module
    holds, pass `migrations`.
    """

    def __init__(
        self, service: Service, folder: Path, *, migrations: Path | None = None, **replaced: Any
    ) -> None:
        unknown = replaced.keys() - _REPLACEABLE
        if unknown:
            raise TypeError(
                f"nothing called {sorted(unknown)}; one of {sorted(_REPLACEABLE)} can be replaced"
            )
        self.service = service
        self.clock: FakeClock = replaced.get("clock") or FakeClock()
        self._folder = folder
        self._migrations = migrations or _migrations(service)
        self._replaced = replaced
        self._stack = AsyncExitStack()
        self._verifier = FakeVerifier(self.clock)
        self.caller = FakeCaller()
        self.metrics = Metrics()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        store: Store = self._replaced.get("store") or SqliteStore(
            f"sqlite:{self._folder / self.service.name}.db", clock=self.clock
        )
        if "store" not in self._replaced:
            self._stack.push_async_callback(store.close)
            await store.open()
        await _migrate(store, micro.bus.migrations.FOLDER, micro.bus.migrations.NAMESPACE, self.clock)
        if self._migrations is not None:
            await _migrate(store, self._migrations, self.service.name, self.clock)
        given = {
            "clock": self.clock,
            "cache": Namespace(MemoryCache("memory:", clock=self.clock), self.service.name, clock=self.clock),
            "env": {},
            "verifier": self._verifier,
            "caller": self.caller,
            "store": store,
            "outbox": Outbox(
                self.service.name,
                clock=self.clock,
                max_bytes=MAX_EVENT_BYTES,
                publishes=self.service.publishes,
            ),
        }
        self.micro = Resources(name=self.service.name, **{**given, **self._replaced})
        if not callable(self.service.app):
            raise ConfigurationError(
                f"{self.service.name}: the harness needs the app itself, not {self.service.app!r}"
            )
        self.app = ServiceApp(self.service.app, self.micro, metrics=self.metrics, ready=lambda: None)

    @property
    def anonymous(self) -> AsgiClient:
        """A client without a token."""
        return AsgiClient(self.app)

    def as_user(self, subject: str, *, role: str = "user") -> AsgiClient:
        """A client with a token of `subject`."""
        return AsgiClient(self.app, headers={"authorization": f"Bearer {self.token(subject, role=role)}"})

    def token(self, subject: str, *, role: str = "user", kind: str = "user") -> str:
        """A token that the service accepts for 15 minutes, unless the verifier was replaced."""
        return self._verifier.token(subject, role=role, kind=kind)

    async def emitted(self, type: str | None = None) -> list[CloudEvent]:
        """What the service's committed transactions have emitted, in order; of one type where it is given."""
        rows = await self.micro.query("select topic, key, value from micro_outbox order by seq")
        found = [decode(Message(*cast("tuple[str, str, bytes]", tuple(row)))) for row in rows]
        return [event for event in found if type is None or event.type == type]

    async def deliver(
        self, type: str, data: dict[str, Any], *, topic: str, key: str = "key", source: str = "test"
    ) -> CloudEvent:
        """Have the service's handlers apply an event, each in a transaction of its own, as its consumer would.

        Raises `LookupError` when the service has no handler for it. Delivered once per call: that an event is applied
        once however often it comes is the consumer's work, not the service's.
        """
        event = Origin(source, self.clock).event(topic, type, data, key=key)
        handlers = [h.handle for h in self.service.handlers if (h.type, h.topic) == (type, topic)]
        if not handlers:
            raise LookupError(f"{self.service.name} has no handler for {type} on {topic}")
        token = current.set(Context(event.correlation_id, event.id, event.traceparent))
        try:
            for handle in handlers:
                async with self.micro.transaction() as tx:
                    await handle(event, tx)
        finally:
            current.reset(token)
        return event


async def _migrate(store: Store, folder: Path, namespace: str, clock: FakeClock) -> None:
    await migrate(store, load_migrations(folder, store.dialect), namespace=namespace, clock=clock)


def _migrations(service: Service) -> Path | None:
    if service.migrations is None:
        return None
    folder = Path(service.migrations)
    if folder.is_absolute():
        return folder
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and any(value is service for value in list(vars(module).values())):
            beside = Path(file).parent / folder
            if beside.is_dir():
                return beside
    raise ConfigurationError(f"{service.name}: no module holds this service; pass migrations=")
