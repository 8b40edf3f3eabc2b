"""What micro asks of a cache: values that expire, and a sliding window for rate limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import msgspec

from micro.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFeatures:
    """What a backend promises. The contract suite tests what is promised and skips the rest by name."""

    shared_by_processes: bool
    bounded: bool
    """Holds a limited number of entries and evicts the least recently used."""
    survives_restart: bool


class Cache(Backend, Protocol):
    """Values that may be gone at any time. Nothing authoritative lives here. Safe to call concurrently."""

    features: ClassVar[CacheFeatures]

    async def get(self, key: str) -> bytes | None:
        """The value, or nothing when it was never set, has expired or was evicted."""
        ...

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep `value` for at most `ttl` seconds."""
        ...

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        """As `set`, unless the key has a value, in one atomic step. Whether it had none.

        Of several that add the same key one is told so. Who can't know, as the server is out of reach, goes on as if there
        were none.
        """
        ...

    async def delete(self, key: str) -> None:
        """Forget a key; no error when there is none."""
        ...


class Quota(NamedTuple):
    """One limit that a request is counted against."""

    key: str
    limit: int
    period: float
    """Seconds."""


class Hit(msgspec.Struct, frozen=True, gc=False):
    """The outcome of counting one request against one limit."""

    allowed: bool
    remaining: int
    """How many more would be allowed now."""
    reset: float
    """Seconds until the quota is whole again; after a refusal, until one more is allowed."""


class Window(Protocol):
    """Counts requests in a sliding window. Exact under concurrency: no more than `limit` in any `period`.

    A backend on a server counts in this process while that is out of reach, each quota by its share: the limit divided by
    how many processes count, which its attribute `gateways` is set to tell (`Callable[[], int]`), and never less than one.
    Then its `degraded` is true, and its `share` the part of a limit that it allows (1.0 at all other times).
    """

    def hit(self, key: str, limit: int, period: float) -> Hit | Awaitable[Hit]:
        """Count one request against `limit` per `period` seconds, in one atomic step. A refused one isn't counted.

        Answers at once where the backend can, so that the gateway's hot path needs no await.
        """
        ...

    def hit_all(self, quotas: Sequence[Quota]) -> list[Hit] | Awaitable[list[Hit]]:
        """Count one request against all of the quotas or, where one of them refuses it, against none; in one atomic step.

        There is a hit for each quota, in their order: `allowed` says whether this one would have let it pass, and what
        remains is after the request where it was counted, without it where it wasn't. The keys differ. A key counts the
        same requests as in `hit`. Answers at once where the backend can.
        """
        ...
