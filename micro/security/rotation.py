"""Signing keys that take turns: made, announced, used, and withdrawn once their last token has expired.

Several replicas of a service may do all of this at once on one table; the generation's number decides who was first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from micro.security.keys import KeyRing, SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.clock import Clock

DAY = 24 * 3600
ANNOUNCED = 15 * 60
"""Seconds for which a key is published before it signs, so that whoever keeps a copy of the set has it by then."""
MARGIN = 15 * 60
"""Seconds for which a key stays published after its last token has expired."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key: signs from `active_from` (seconds since the epoch) until the next generation does."""

    generation: int
    secret: str = field(repr=False)
    """The private key, as `micro.security.keys.SigningKey.to_json` writes it."""
    active_from: int


class KeyStore(Protocol):
    """Where the keys are kept. Whoever can read it can issue tokens."""

    async def all(self) -> list[StoredKey]:
        """By generation, the oldest first."""
        ...

    async def add(self, key: StoredKey) -> None:
        """Store a key, unless another replica stored that generation first."""
        ...

    async def prune(self, generation: int) -> None:
        """Forget all generations below that one."""
        ...


@dataclass(frozen=True, slots=True)
class RotatingKeys:
    """The signing keys of one issuer whose tokens live `token_seconds`; a new one every `period` seconds."""

    store: KeyStore
    clock: Clock
    token_seconds: int
    period: int = 30 * DAY

    async def ring(self) -> KeyRing:
        """The key to sign with now, and all that are to be published. The very first call makes the first key."""
        known = await self.store.all() or await self.tend()
        current = _active(known, self._now())
        return KeyRing(SigningKey.from_json(current.secret), [_public(key) for key in known])

    async def tend(self) -> Sequence[StoredKey]:
        """Add the next key when it is time for it, forget those that nothing needs; what there is then."""
        known = await self.store.all()
        due = self._successor(known)
        if due is not None:
            made = await asyncio.to_thread(SigningKey.generate, self.clock)  # loads its library off the loop
            generation, active_from = due
            await self.store.add(StoredKey(generation, made.to_json(), active_from))
        needed = self._oldest_needed(known)
        if any(key.generation < needed for key in known):
            await self.store.prune(needed)
        return await self.store.all()

    def _successor(self, known: Sequence[StoredKey]) -> tuple[int, int] | None:
        """Generation and `active_from` of the key to add now."""
        now = int(self._now())
        if not known:
            return 1, now
        newest = known[-1]
        if now < newest.active_from + self.period:
            return None
        return newest.generation + 1, now + ANNOUNCED

    def _oldest_needed(self, known: Sequence[StoredKey]) -> int:
        """The newest generation that has signed for so long that all tokens of those before it have expired."""
        settled = self._now() - self.token_seconds - MARGIN
        return max((key.generation for key in known if key.active_from <= settled), default=0)

    def _now(self) -> float:
        return self.clock.now().timestamp()


def _active(known: Sequence[StoredKey], now: float) -> StoredKey:
    """The newest that is active; the oldest when the clock has gone back before all of them."""
    return next((key for key in reversed(known) if key.active_from <= now), known[0])


def _public(key: StoredKey) -> dict[str, str]:
    return SigningKey.from_json(key.secret).public
