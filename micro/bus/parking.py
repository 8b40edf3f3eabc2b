"""Parking: failed events are tried again when their time comes, and dead letters are seen to by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from micro.bus.backoff import Backoff
from micro.bus.codec import decode, to_json
from micro.bus.delivery import Delivery, Failure
from micro.bus.intake import PATIENCE
from micro.bus.letters import Letters, Outcome, summary
from micro.bus.notice import Notice
from micro.errors import NotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from micro.bus.parked import Parked
    from micro.bus.subscriber import Subscriber

_POLL = 0.5
"""Seconds between looks at the table when nothing is due sooner."""
_PAGE = 20
_DEAD = "next_attempt_at is null and attempts > 0 and "


class Parking:
    """One subscriber's parked events. The head of each key is tried when it is due; the others wait behind it.

    A dead letter blocks its key until it is replayed, skipped or purged: that is how order per key outlives it. Bytes
    that are no event block nothing. Safe beside a running consumer, and from several processes where the database is.
    """

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._table = subscriber.parked
        self._clock = subscriber.clock
        self._turn = asyncio.Lock()
        self._tries: Counter[int] = Counter()
        self._waiting = Notice(
            "parked events wait for the database",
            over="parked events wait for the database no more",
            log=subscriber.log,
            clock=subscriber.clock,
        )

    async def run(self) -> None:
        """Try what is due, for ever. Raises what it can't mend by waiting; may be run again."""
        backoff = Backoff(self._clock)
        while True:
            try:
                await self.retry_due()
                due = await self._table.next_due()
            except StoreUnavailable as error:
                self._waiting.lasts(str(error))
                await backoff.pause()
                continue
            self._waiting.ends()
            backoff.succeeded()
            left = _POLL if due is None else due - self._clock.now().timestamp()
            await self._clock.sleep(min(max(left, 0.0), _POLL))

    async def retry_due(self) -> int:
        """Try every event whose time has come, until there is none; how many tries that took."""
        tries = 0
        while due := await self._table.due(_PAGE):
            for parked in due:
                await self._try(parked)
            tries += len(due)
        return tries

    async def list(
        self, letters: Letters | None = None, *, after: int = 0, limit: int = 50, waiting: bool = False
    ) -> list[dict[str, Any]]:
        """Dead letters, the oldest first; with `waiting` also what is retried, and what waits behind another.

        `after` is the `seq` of the last one seen.
        """
        found = await self._select(letters or Letters(), after, limit, only_dead=not waiting)
        return [summary(parked) for parked in found]

    async def inspect(self, id: str) -> dict[str, Any]:
        """All that is known of one parked event. Raises `NotFound`."""
        found = await self._select(Letters(ids=(id,)), 0, 1, only_dead=False)
        if not found:
            raise NotFound(f"{self._subscriber.name} has no parked event {id}")
        [parked] = found
        printed = to_json(parked.record)
        return {
            **summary(parked),
            "stack": parked.failure.stack if parked.failure else "",
            "behind": await self._table.behind(parked),
            "headers": {
                name: value.decode("utf-8", "replace") for name, value in parked.record.message.headers
            },
            **{name: printed[name] for name in ("event", "raw") if name in printed},
        }

    async def replay(self, letters: Letters) -> AsyncIterator[Outcome]:
        """Put dead letters through their handlers once more, in order. One that fails stays dead, with the new reason.

        What waits behind an applied one is due at once and follows in its order.
        """
        async for parked in self._chosen(letters):
            yield await self._try(parked)

    async def skip(self, letters: Letters) -> AsyncIterator[Outcome]:
        """Give dead letters up for good; what waits behind them goes on."""
        async for parked in self._chosen(letters):
            yield await self._drop(parked, behind=False)

    async def purge(self, letters: Letters) -> AsyncIterator[Outcome]:
        """Give dead letters up for good, with everything that waits behind them."""
        async for parked in self._chosen(letters):
            yield await self._drop(parked, behind=True)

    async def _chosen(self, letters: Letters) -> AsyncIterator[Parked]:
        """The dead letters that match, in order. Raises `UsageError` for no choice, at the end `NotFound` for unknown ids."""
        letters.check()
        unknown, last = set(letters.ids), 0
        while page := await self._select(letters, last, _PAGE, only_dead=True):
            for parked in page:
                unknown.discard(parked.id)
                yield parked
            last = page[-1].seq
        if unknown:
            raise NotFound(f"{self._subscriber.name} has no dead letter {', '.join(sorted(unknown))}")

    async def _select(self, letters: Letters, after: int, limit: int, *, only_dead: bool) -> Sequence[Parked]:
        condition, parameters = letters.condition()
        scope = _DEAD if only_dead else ""
        return await self._table.select(
            f"{scope}{condition} and seq > ? order by seq", *parameters, after, limit=limit
        )

    async def _try(self, parked: Parked) -> Outcome:
        async with self._turn:
            try:
                outcome = await self._apply(parked)
            except Exception as error:
                if isinstance(error, StoreUnavailable) and not self._is_stubborn(parked):
                    raise
                outcome = await self._failed(parked, error)
            self._tries.pop(parked.seq, None)
            return outcome

    def _is_stubborn(self, parked: Parked) -> bool:
        """Whether so many tries met an unavailable database that it is the event's own, and would hold up all others."""
        self._tries[parked.seq] += 1
        return self._tries[parked.seq] >= PATIENCE

    async def _apply(self, parked: Parked) -> Outcome:
        subscriber, event = self._subscriber, decode(parked.record)
        async with subscriber.transaction() as work:
            if not await self._table.release(work.raw, parked):
                return Outcome(parked.id, parked.type, "gone")
            await subscriber.inbox.settle(work.raw, parked.id)
            if parked.type is None and not await subscriber.inbox.claim(work.raw, [event.id]):
                return Outcome(parked.id, event.type, "gone", "the event in it was applied before")
            await subscriber.run(event, work.tx)
        return Outcome(parked.id, event.type, "applied")

    async def _failed(self, parked: Parked, error: Exception) -> Outcome:
        subscriber, failure, delivery = self._subscriber, Failure.of(error), Delivery.of(parked.record)
        attempts = parked.attempts + 1
        due = None if parked.dead else subscriber.next_attempt(delivery.event, attempts)
        async with subscriber.transaction() as work:
            changed = await self._table.reschedule(work.raw, parked, failure, due)
            if changed and due is None and not parked.dead:
                subscriber.copy(work, delivery, failure, attempts=attempts)
        if due is None:
            subscriber.log.error("%s %s is a dead letter after %d attempts", parked.type, parked.id, attempts)
        return Outcome(parked.id, parked.type, "failed", f"{failure.type}: {failure.message}")

    async def _drop(self, parked: Parked, *, behind: bool) -> Outcome:
        async with self._turn, self._subscriber.store.transaction() as tx:
            dropped = await self._table.drop_behind(tx, parked) if behind else 0
            if not await self._table.release(tx, parked):
                return Outcome(parked.id, parked.type, "gone")
            await self._subscriber.inbox.settle(tx, parked.id)
        return Outcome(parked.id, parked.type, "dropped", f"and {dropped} behind it" if dropped else "")
