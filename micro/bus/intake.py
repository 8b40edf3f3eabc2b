"""Taking events in: a batch is applied in one transaction, and an event that fails is parked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from micro.bus.delivery import Failure
from micro.errors import DecodeError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.bus.delivery import Delivery
    from micro.bus.subscriber import Subscriber, Work

APPLIED, PARKED, KNOWN = "applied", "parked", "known"

SPAN = 1.0
"""Seconds that a batch may take, as long as it has more than one event: others wait for what its handlers have locked."""
PATIENCE = 8
"""Tries after which what a handler meets is called its event's own failure, though it looks like the database's: a
statement that always takes longer than the server allows would hold up others for ever."""
_ATTEMPTS_IN_MEMORY = 2


class HandlerFailed(Exception):
    """A handler raised; names the event whose handler it was. The reason is the cause."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        super().__init__(delivery.id)


class Intake:
    """Every event is applied once, in order per key, or parked in order.

    Nothing here remembers anything: what is interrupted was rolled back and can be done again. `again` is for replay:
    events that the inbox has as applied are applied again.
    """

    def __init__(self, subscriber: Subscriber, *, again: bool = False) -> None:
        self._subscriber = subscriber
        self._again = again

    async def take(self, batch: Sequence[Delivery], *, blame: bool = False) -> Counter[str]:
        """Apply or park every event of a batch, and count what became of them. Then the batch is done with.

        One transaction where all goes well and quickly. After a failure those before the bad event and those behind it are
        applied without it, so it costs the others nothing but time; where it isn't known which one it was, they are gone
        through one by one.

        Raises `StoreUnavailable` when the database is the reason; the rest of the batch is then still to be done. With
        `blame`, that a handler meets in a transaction that had begun well is its event's own failure.
        """
        tally, rest = Counter[str](), list(batch)
        while rest:
            failed = None
            try:
                done, became = await self._apply(rest, blame=blame)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - a handler may raise anything
                failed = error
            if (
                failed is not None
            ):  # outside of the clause: what is raised from here on has nothing to do with it
                done, became = await self._take_apart(rest, failed, blame=blame)
            tally += became
            rest = rest[done:]
        return tally

    async def _take_apart(
        self, batch: Sequence[Delivery], failed: Exception, *, blame: bool
    ) -> tuple[int, Counter[str]]:
        """As `_apply`, of what failed in one transaction: what is before the bad event together, that one alone.

        Where it isn't known which one it was, each alone.
        """
        if isinstance(failed, HandlerFailed):
            at = next(number for number, each in enumerate(batch) if each is failed.delivery)
            tally = await self.take(batch[:at], blame=blame)
            return at + 1, tally + await self._take_one(failed.delivery, failed, blame=blame)
        tally, known = Counter[str](), failed if len(batch) == 1 else None
        for delivery in batch:
            tally += await self._take_one(delivery, known, blame=blame)
        return len(batch), tally

    async def _apply(self, batch: Sequence[Delivery], *, blame: bool) -> tuple[int, Counter[str]]:
        """How many of a batch, from its first on, were done within `SPAN`, and what became of them."""
        subscriber, tally, done = self._subscriber, Counter[str](), 0
        async with subscriber.transaction() as work:
            ids = [delivery.id for delivery in batch]
            if self._again:
                await subscriber.inbox.forget(work.raw, ids)
            fresh = await subscriber.inbox.claim(work.raw, ids)
            blocked = await subscriber.parked.blocked(work.raw, [delivery.place for delivery in batch])
            until = subscriber.clock.monotonic() + SPAN
            for delivery in batch:
                if done and fresh and not self._again and subscriber.clock.monotonic() > until:
                    await subscriber.inbox.forget(work.raw, sorted(fresh))  # they are claimed by the next
                    break
                done += 1
                if delivery.id in fresh:
                    fresh.discard(delivery.id)
                    wait = delivery.place in blocked
                    tally[await self._apply_one(work, delivery, wait=wait, blame=blame)] += 1
                else:
                    tally[KNOWN] += 1
        return done, tally

    async def _apply_one(self, work: Work, delivery: Delivery, *, wait: bool, blame: bool) -> str:
        subscriber = self._subscriber
        if isinstance(delivery.content, DecodeError):
            failure = Failure.of(delivery.content)
            await subscriber.parked.bury(work.raw, delivery, failure)
            await subscriber.inbox.hold(work.raw, delivery.id)
            subscriber.copy(work, delivery, failure, attempts=1)
            return PARKED
        if wait and await subscriber.parked.queue(work.raw, delivery):
            await subscriber.inbox.hold(work.raw, delivery.id)
            return PARKED
        try:
            await subscriber.run(delivery.content, work.tx)
        except Exception as error:
            if isinstance(error, StoreUnavailable) and not blame:
                raise
            raise HandlerFailed(delivery) from error
        return APPLIED

    async def _take_one(self, delivery: Delivery, error: Exception | None, *, blame: bool) -> Counter[str]:
        attempts = 0 if error is None else 1
        limit = min(_ATTEMPTS_IN_MEMORY, self._subscriber.retry(delivery.event).attempts)
        while error is None or attempts < limit:
            try:
                _, became = await self._apply([delivery], blame=blame)
            except StoreUnavailable:
                raise
            except Exception as again:  # noqa: BLE001 - a handler may raise anything
                error, attempts = again, attempts + 1
            else:
                return became
        reason = error.__cause__ if isinstance(error, HandlerFailed) else None
        return await self._park(delivery, reason or error, attempts)

    async def _park(self, delivery: Delivery, error: BaseException, attempts: int) -> Counter[str]:
        subscriber, failure = self._subscriber, Failure.of(error)
        due = subscriber.next_attempt(delivery.event, attempts)
        async with subscriber.transaction() as work:
            if self._again:
                await subscriber.inbox.forget(work.raw, [delivery.id])
            if not await subscriber.inbox.claim(work.raw, [delivery.id]):
                return Counter({KNOWN: 1})
            await subscriber.inbox.hold(work.raw, delivery.id)
            await subscriber.parked.park(
                work.raw, delivery, failure=failure, attempts=attempts, next_attempt_at=due
            )
            if due is None:
                subscriber.copy(work, delivery, failure, attempts=attempts)
        subscriber.log.warning(
            "%s %s failed %d times and %s: %s: %s",
            delivery.type,
            delivery.id,
            attempts,
            "is a dead letter" if due is None else "is parked",
            failure.type,
            failure.message,
        )
        return Counter({PARKED: 1})
