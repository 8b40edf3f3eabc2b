"""Which relay may send which buckets.

One relay at a time sends a bucket, or the events of a key could leave in two orders. Who stops renewing loses it
(crash, partition, SIGSTOP), and because it may not know, each claim has a token, higher than any before, that the
delete of sent rows checks (https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from micro.bus.outbox import BUCKETS
from micro.ids import new_id

if TYPE_CHECKING:
    from typing import Any

    from micro.clock import Clock
    from micro.store.ports import Store

_TTL = 15.0
"""Seconds until a claim that isn't renewed may be taken over. Several times what clocks differ by."""
_RENEW = 5.0


class Lease:
    """The claim of one relay. It is renewed only when there is something to send, so an idle service writes nothing."""

    def __init__(self, store: Store, *, clock: Clock, owner: str) -> None:
        self._store = store
        self._clock = clock
        self._owner = f"{owner}#{new_id(clock)}"
        self._alone = not store.features.shared_by_processes
        self._renewed = -math.inf
        self._token = 0
        self.held: frozenset[int] = frozenset()

    @property
    def fresh(self) -> bool:
        """Whether it was renewed so lately that nobody else can have taken it over."""
        return self._clock.monotonic() - self._renewed < _RENEW

    @property
    def proof(self) -> tuple[str, int]:
        """Owner and token: what the rows of `micro_lease` must show for this claim to stand."""
        return self._owner, self._token

    async def claim(self) -> bool:
        """Renew, and take over what is free or has run out. Whether what is held changed.

        In a database that only one process can open, the first claim takes everything: its holder is dead.
        """
        renewed, now = self._clock.monotonic(), self._clock.now().timestamp()
        kept = await self._renew(now + _TTL)
        changed = kept < len(self.held) or kept == 0
        if kept < BUCKETS:
            before = self.held
            await self._take_over(now)
            changed = changed or self.held != before
        self._renewed = renewed if self.held else -math.inf
        return changed

    async def release(self) -> None:
        """Let others have it at once."""
        if not self.held:
            return
        async with self._store.transaction() as tx:
            await tx.execute(
                "update micro_lease set expires_at = 0.0 where owner = ? and token = ?", *self.proof
            )
        self.doubt()
        self.held = frozenset()

    def doubt(self) -> None:
        """Make sure before the next use."""
        self._renewed = -math.inf

    async def _renew(self, until: float) -> int:
        if not self.held:
            return 0
        async with self._store.transaction() as tx:
            return await tx.execute(
                "update micro_lease set expires_at = ? where owner = ? and token = ?",
                until,
                *self.proof,
            )

    async def _take_over(self, now: float) -> None:
        free_before = math.inf if self._alone and not self._token else now
        async with self._store.transaction(exclusive=True) as tx:
            [newest] = await tx.query("select max(token) from micro_lease")
            highest: Any = newest[0]
            rows: list[Any] = await tx.query(
                "update micro_lease set owner = ?, token = ?, expires_at = ? where owner = ? or expires_at < ? "
                "returning bucket",
                self._owner,
                highest + 1,
                now + _TTL,
                self._owner,
                free_before,
            )
        self._token = highest + 1
        self.held = frozenset(row[0] for row in rows)
