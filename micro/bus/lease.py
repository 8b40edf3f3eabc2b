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
    from micro.store.ports import Store, Transaction

_TTL = 15.0
"""Seconds until a claim that isn't renewed may be taken over. Several times what clocks differ by."""
_RENEW = 5.0
_FUTURE = 60.0
"""A claim that ends later than this from now comes from a clock that has jumped: it would outlive its owner by as much."""

_REGISTER = (
    "insert into micro_relay (owner, expires_at) values (?, ?) "
    "on conflict (owner) do update set expires_at = excluded.expires_at"
)
_RENEW_CLAIM = "update micro_lease set expires_at = ? where owner = ? and token = ? returning bucket"
_GIVE_UP = (
    "update micro_lease set expires_at = 0.0 where bucket in "
    "(select bucket from micro_lease where owner = ? and token = ? order by bucket limit ?) returning bucket"
)
_TAKE_OVER = (
    "update micro_lease set owner = ?, token = ?, expires_at = ? where (owner = ? and expires_at > 0.0) or bucket in "
    "(select bucket from micro_lease where expires_at not between ? and ? order by bucket limit ?) returning bucket"
)
_FREE_FORMER = "update micro_lease set expires_at = 0.0 where substr(owner, 1, ?) = ?"
_FORGET_DEAD = "delete from micro_relay where expires_at not between ? and ?"
_FORGET_FORMER = "delete from micro_relay where substr(owner, 1, ?) = ?"


class Lease:
    """The claim of one relay. It is renewed only when there is something to send, so an idle service writes nothing.

    Of several relays that have something to send each gets an equal part of the buckets, within two renewals. What one of
    the same name has left behind is free at once: two never live at a time, and the token holds in any case.
    """

    def __init__(self, store: Store, *, clock: Clock, owner: str) -> None:
        self._store = store
        self._clock = clock
        self._alone = not store.features.shared_by_processes
        self._owner = f"{owner}#{new_id(clock)}"
        self._former = "" if self._alone else f"{owner}#"
        """What the names of those begin with whose claims end with this one's first: their processes are gone."""
        self._renewed = -math.inf
        self._token = 0
        self.held: frozenset[int] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether every bucket is held: there is no other relay to reckon with."""
        return len(self.held) == BUCKETS

    @property
    def fresh(self) -> bool:
        """Whether it was renewed so lately that nobody else can have taken it over."""
        return self._clock.monotonic() - self._renewed < _RENEW

    @property
    def proof(self) -> tuple[str, int]:
        """Owner and token: what the rows of `micro_lease` must show for this claim to stand."""
        return self._owner, self._token

    async def claim(self) -> bool:
        """Renew, give up what is more than this relay's part, and take over what is free or has run out, up to that.

        Whether what is held changed.
        """
        renewed, before = self._clock.monotonic(), self.held
        now = self._clock.now().timestamp()
        async with self._store.transaction(exclusive=True) as tx:
            if not self._token:
                await self._inherit(tx)
            part = await self._part(tx, now)
            held = await self._renew(tx, now + _TTL)
            if len(held) > part:
                held -= await self._give_up(tx, len(held) - part)
            elif len(held) < part:
                held = await self._take_over(tx, now, most=part - len(held))
        self.held = held
        self._renewed = renewed if held else -math.inf
        return held != before

    async def release(self) -> None:
        """Let others have it at once."""
        if not self.held:
            return
        async with self._store.transaction() as tx:
            await tx.execute(
                "update micro_lease set expires_at = 0.0 where owner = ? and token = ?", *self.proof
            )
            await tx.execute("delete from micro_relay where owner = ?", self._owner)
        self.doubt()
        self.held = frozenset()

    def doubt(self) -> None:
        """Make sure before the next use."""
        self._renewed = -math.inf

    async def _inherit(self, tx: Transaction) -> None:
        former = len(self._former), self._former
        await tx.execute(_FREE_FORMER, *former)
        await tx.execute(_FORGET_FORMER, *former)

    async def _part(self, tx: Transaction, now: float) -> int:
        """How many buckets are this relay's, of those that live."""
        if self._alone:
            return BUCKETS
        await tx.execute(_REGISTER, self._owner, now + _TTL)
        await tx.execute(_FORGET_DEAD, now, now + _FUTURE)
        [row] = await tx.query("select count(*) from micro_relay")
        living: Any = row[0]
        return -(-BUCKETS // int(living))  # rounded up

    async def _renew(self, tx: Transaction, until: float) -> frozenset[int]:
        if not self.held:
            return frozenset()
        return _buckets(await tx.query(_RENEW_CLAIM, until, *self.proof))

    async def _give_up(self, tx: Transaction, count: int) -> frozenset[int]:
        return _buckets(await tx.query(_GIVE_UP, *self.proof, count))

    async def _take_over(self, tx: Transaction, now: float, *, most: int) -> frozenset[int]:
        """A new claim, with what was held before and is still, and up to so many more."""
        [newest] = await tx.query("select max(token) from micro_lease")
        highest: Any = newest[0]
        claim = (self._owner, highest + 1, now + _TTL)
        rows = await tx.query(_TAKE_OVER, *claim, self._owner, now, now + _FUTURE, most)
        self._token = highest + 1
        return _buckets(rows)


def _buckets(rows: Any) -> frozenset[int]:
    return frozenset(row[0] for row in rows)
