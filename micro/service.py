"""What an author declares (`Service`) and what a running service is given (`Resources`)."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from micro.bus.message import CloudEvent, Event
    from micro.bus.outbox import Outbox
    from micro.cache.namespace import Namespace
    from micro.clock import Clock
    from micro.store.ports import Row, Store, Value
    from micro.store.ports import Transaction as StoreTransaction

ASGIApp: TypeAlias = "Callable[[Any, Any, Any], Awaitable[None]]"
Handler: TypeAlias = "Callable[[CloudEvent, Transaction], Awaitable[None]]"
Background: TypeAlias = "Callable[[Resources], Awaitable[None]]"

_in_transaction: ContextVar[bool] = ContextVar("micro_in_transaction", default=False)


@contextmanager
def transaction_open() -> Iterator[None]:
    """Until it is left, this task holds a transaction open, and `Resources.call` is refused in it."""
    mark = _in_transaction.set(True)
    try:
        yield
    finally:
        _in_transaction.reset(mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long a failing event is tried again: exponential back-off with full jitter, then the dead letters.

    The wait before attempt *n* is drawn from [0, min(cap, base · 2ⁿ)) seconds
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    attempts: int = 8
    base: float = 0.5
    cap: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandler:
    """One `@service.on(…)`: which events, and what to do with them."""

    type: str
    topic: str
    handle: Handler
    replay: bool
    retry: Retry


class Service:
    """A name, an ASGI app, and what the runner should do for it. Declaring one does nothing else.

    `app` is an ASGI application or an import string for one. `migrations` is a folder of numbered SQL files, relative
    to the declaring module. `publishes` lists the event types that `emit` may be given.
    """

    def __init__(
        self,
        name: str,
        *,
        app: ASGIApp | str | None = None,
        routes: Sequence[str] = (),
        port: int | None = None,
        migrations: str | None = None,
        publishes: Sequence[type[Event]] = (),
    ) -> None:
        self.name = name
        self.app = app
        self.routes = tuple(routes)
        self.port = port
        self.migrations = migrations
        self.publishes = tuple(publishes)
        self.handlers: list[EventHandler] = []
        self.backgrounds: list[Background] = []

    def on(
        self, type: str, *, topic: str, replay: bool = True, retry: Retry | None = None
    ) -> Callable[[Handler], Handler]:
        """Subscribe a handler to one event type of a topic. The subscriber is the service's name.

        The handler's writes, and the note that this event was applied, commit together. A batch may be rolled back and
        applied again, so it writes rows and nothing else. `replay=False` leaves it out of `events replay`.
        """

        def register(handle: Handler) -> Handler:
            if any(known.type == type and known.topic == topic for known in self.handlers):
                raise ConfigurationError(f"{self.name}: two handlers for {type} on {topic}")
            self.handlers.append(
                EventHandler(type=type, topic=topic, handle=handle, replay=replay, retry=retry or Retry())
            )
            return handle

        return register

    def background(self, worker: Background) -> Background:
        """Run a coroutine function beside the app: started when the service is, restarted with back-off when it fails,
        cancelled at shutdown."""
        self.backgrounds.append(worker)
        return worker


class Transaction:
    """Writes of one service that commit together with the events they cause."""

    __slots__ = ("_outbox", "_tx", "emitted")

    def __init__(self, tx: StoreTransaction, outbox: Outbox) -> None:
        self._tx = tx
        self._outbox = outbox
        self.emitted = 0

    async def execute(self, sql: str, *parameters: Value) -> int:
        """Run one statement; the number of rows it changed. See `micro.store.ports.Transaction`."""
        return await self._tx.execute(sql, *parameters)

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """Run one statement; its rows. See `micro.store.ports.Transaction`."""
        return await self._tx.query(sql, *parameters)

    def emit(self, event: Event, *, key: str) -> str:
        """Publish `event` if and when this transaction commits; returns the event's id.

        Events of one key reach every subscriber in the order of the commits. Raises `EventTooLarge` at once.
        """
        self.emitted += 1
        return self._outbox.add(self._tx, event, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a verified token speaks for."""

    subject: str
    role: str
    issuer: str
    expires: float
    """Seconds since the epoch."""
    scopes: frozenset[str] = frozenset()
    kind: str = "user"
    """`user`, `api_key` for the holder of one of the gateway's keys, `service` for a call between services."""


class Verifier(Protocol):
    """Checks tokens against the published keys of the stack's issuers."""

    def cached(self, token: str) -> Identity | None:
        """The identity, where this very token was verified before and has not expired."""
        ...

    async def verify(self, token: str) -> Identity:
        """The identity. Raises `TokenError`. Fetches keys when it meets an unknown key id, with a cool-down."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request from one service to another."""

    source: str
    target: str
    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a `Call`."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body, decoded. Raises `ValueError` when it is not JSON, or nested too deeply to be read."""
        try:
            return msgspec.json.decode(self.body)
        except RecursionError as error:
            raise ValueError(str(error)) from None


class Caller(Protocol):
    """Carries a `Call`: to the app itself in one process, over the network otherwise."""

    async def call(self, call: Call) -> Reply:
        """The answer, whatever its status. Raises `CallError` when there is none."""
        ...


@dataclass(kw_only=True)
class Resources:
    """What a running service works with; `request.state.micro` in a request handler."""

    name: str
    clock: Clock
    cache: Namespace
    env: Mapping[str, str]
    """`.env`, the process's environment, and the service's own `env` table, the last winning."""
    verifier: Verifier
    caller: Caller
    store: Store | None = None
    outbox: Outbox | None = None

    @asynccontextmanager
    async def transaction(self, *, timeout: float = 30.0) -> AsyncIterator[Transaction]:
        """Commit on a clean exit, roll back on any exception. Raises as `micro.store.ports.Transaction` does."""
        if self.store is None or self.outbox is None:
            raise ConfigurationError(
                f'{self.name} has no database: declare a Service("{self.name}", app=…) for it'
            )
        with transaction_open():
            async with self.store.transaction(timeout=timeout) as raw:
                tx = Transaction(raw, self.outbox)
                yield tx
        if tx.emitted:
            self.outbox.wake()

    async def query(self, sql: str, *parameters: Value) -> list[Row]:
        """Read committed rows, outside any transaction."""
        if self.store is None:
            raise ConfigurationError(
                f'{self.name} has no database: declare a Service("{self.name}", app=…) for it'
            )
        return await self.store.query(sql, *parameters)

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Reply:
        """Call another service as this one, with trace and correlation carried on.

        Raises `CallError` when no answer came, and `RuntimeError` inside a transaction: a call holds the transaction
        open for as long as the other side takes, and can't be rolled back with it.
        """
        if _in_transaction.get():
            raise RuntimeError(f"{self.name}: call() inside a transaction; call first, then write")
        pairs = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]
        body = b""
        if json is not None:
            body = msgspec.json.encode(json)
            pairs.append((b"content-type", b"application/json"))
        return await self.caller.call(
            Call(
                source=self.name,
                target=service,
                method=method,
                path=path,
                headers=tuple(pairs),
                body=body,
                timeout=timeout,
            )
        )
