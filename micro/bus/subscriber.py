"""One service's handlers on its database: what the live path, retries and replay have in common."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from micro.bus.delivery import dead_letter
from micro.bus.inbox import Inbox
from micro.bus.parked_table import ParkedTable
from micro.cancellation import uncancelled
from micro.clock import uniform
from micro.context import Context, current
from micro.errors import StoreUnavailable, TransactionTimeout
from micro.ids import child_traceparent
from micro.service import Retry, Transaction, transaction_open

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from micro.bus.delivery import Delivery, Failure
    from micro.bus.message import CloudEvent
    from micro.bus.outbox import Outbox
    from micro.clock import Clock
    from micro.service import EventHandler
    from micro.store.ports import Store
    from micro.store.ports import Transaction as StoreTransaction

TIME_LIMIT = 30.0
"""Seconds that one handler may take."""

_ROOM = 5.0
"""Seconds that a transaction may take besides its handlers."""


class Work(NamedTuple):
    """An open transaction: as the store has it, and as handlers are given it."""

    raw: StoreTransaction
    tx: Transaction


class Subscriber:
    """A name, its handlers, and the tables that say what became of each event."""

    def __init__(
        self,
        name: str,
        handlers: Sequence[EventHandler],
        *,
        store: Store,
        outbox: Outbox,
        clock: Clock,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self.name = name
        self.store = store
        self.clock = clock
        self.log = logging.getLogger(f"micro.service.{name}")
        self.inbox = Inbox(name, clock=clock)
        waits = (Retry(), *(handler.retry for handler in handlers))
        self.parked = ParkedTable(name, store=store, clock=clock, longest=max(each.cap for each in waits))
        self._outbox = outbox
        self._time_limit = time_limit
        self._handlers = {(handler.topic, handler.type): handler for handler in handlers}

    @property
    def topics(self) -> frozenset[str]:
        """What to subscribe to."""
        return frozenset(topic for topic, _ in self._handlers)

    def handler(self, event: CloudEvent) -> EventHandler | None:
        """Who handles events like this one."""
        return self._handlers.get((event.topic, event.type))

    def wants(self, delivery: Delivery) -> bool:
        """Whether there is anything to do: a handler, or bytes to keep as a dead letter."""
        return delivery.event is None or self.handler(delivery.event) is not None

    def retry(self, event: CloudEvent | None) -> Retry:
        """The policy of the event's subscription."""
        handler = self.handler(event) if event is not None else None
        return handler.retry if handler is not None else Retry()

    def next_attempt(self, event: CloudEvent | None, attempts: int) -> float | None:
        """When to try again after so many attempts (epoch seconds); never, when they are used up."""
        retry = self.retry(event)
        if attempts >= retry.attempts:
            return None
        wait = uniform(self.clock) * min(retry.cap, retry.base * 2.0 ** min(attempts + 1, 64))
        return self.clock.now().timestamp() + wait

    async def run(self, event: CloudEvent, tx: Transaction) -> None:
        """Call the handler of `event`, in the event's context and within the time limit.

        Raises what the handler raises, `TimeoutError`, and `LookupError` where no handler is left for it.
        """
        handler = self.handler(event)
        if handler is None:
            raise LookupError(f"{self.name} has no handler for {event.type} on {event.topic} any more")
        context = Context(
            correlation_id=event.correlation_id,
            causation_id=event.id,
            traceparent=child_traceparent(event.traceparent, self.clock),
        )
        mark = current.set(context)
        try:
            async with asyncio.timeout(self._time_limit) as limit:
                with uncancelled("the handler"):
                    await handler.handle(event, tx)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"the handler took longer than {self._time_limit:g} s") from error
        finally:
            current.reset(mark)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Work]:
        """A transaction for handlers; the relay is woken when it has committed events.

        Raises `StoreUnavailable` also where the database had no time for it, so that no event is blamed.
        """
        begun = False
        try:
            with transaction_open():
                async with self.store.transaction(timeout=self._time_limit + _ROOM) as raw:
                    begun = True
                    tx = Transaction(raw, self._outbox)
                    yield Work(raw, tx)
        except TransactionTimeout as error:
            if begun:
                raise
            raise StoreUnavailable(f"{self.name}: no transaction could begin: {error}") from error
        if tx.emitted:
            self._outbox.wake()

    def copy(self, work: Work, delivery: Delivery, failure: Failure, *, attempts: int) -> None:
        """Send a copy of a dead letter to ``<topic>.dlq`` with this transaction. The table remains the truth:

        what would not fit has no copy, nor has what came from such a topic itself.
        """
        copy = dead_letter(delivery, failure, subscriber=self.name, attempts=attempts)
        if not delivery.record.partition.topic.endswith(".dlq") and self._outbox.takes(copy):
            self._outbox.add_message(work.raw, copy)
            work.tx.emitted += 1
