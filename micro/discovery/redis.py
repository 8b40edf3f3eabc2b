"""Discovery on a server that speaks the Redis protocol: an entry is a lease, kept by the server's own clock.

Nothing authoritative lives there: who follows the list keeps what it knew while the server is away.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import redis.asyncio as driver
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from micro.discovery.ports import LEASE, DiscoveryFeatures, Place, Places
from micro.errors import DiscoveryUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.clock import Clock

logger = logging.getLogger(__name__)

TIMEOUT = 0.5
"""Seconds for one answer."""
_UNREACHABLE = (RedisError, OSError, TimeoutError)

_MOVE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Puts an entry into one of two sorted sets by the end of its time, and takes it out of the other."""
_LIST = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  found[i] = redis.call('ZRANGE', key, 0, -1)
end
return found
"""


class RedisDiscovery:
    """`micro.discovery.ports.Discovery` on Redis 6.2 or Valkey.

    `url` is the cache's, ``redis://[user][:password]@host:port/database``, with its ``?prefix=``. Stacks of different names
    don't meet.
    """

    features: ClassVar[DiscoveryFeatures] = DiscoveryFeatures(shared_by_processes=True, leases=True)

    def __init__(self, url: str, *, clock: Clock, stack: str = "micro", lease: float = LEASE) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        prefix = options.pop("prefix", "micro:")
        self._url = parts._replace(query=urlencode(options)).geturl()
        keys = f"{prefix}discovery:{{{stack}}}:"  # the braces keep both keys on one node of a cluster
        self._here, self._left = f"{keys}here", f"{keys}left"
        self._lease = int(lease * 1000)
        self._client: Any = None
        self._foreign: set[bytes] = set()
        """The entries of others that were there at the last look."""

    async def open(self) -> None:
        """Make the pool of connections; they are opened when needed."""
        self._client = driver.Redis.from_url(
            self._url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1),  # once: a connection may have been closed while it was idle
            protocol=2,
        )

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def register(self, place: Place) -> None:
        """See `Discovery.register`."""
        await self._move(place, self._here, self._left)

    async def withdraw(self, place: Place) -> None:
        """See `Discovery.withdraw`."""
        await self._move(place, self._left, self._here)

    async def places(self) -> Places:
        """See `Discovery.places`."""
        here, left = await self._try(lambda client: client.eval(_LIST, 2, self._here, self._left))
        known = {entry: place for entry in (*here, *left) if (place := _read(entry)) is not None}
        self._pass_over({*here, *left}.difference(known))
        # The last renewed come last.
        latest = {(place.origin, *place[:2]): place for place in map(known.get, here) if place is not None}
        return Places([*latest.values()], [known[entry] for entry in left if entry in known])

    async def _move(self, place: Place, to: str, off: str) -> None:
        entry = msgspec.json.encode(place)
        await self._try(lambda client: client.eval(_MOVE, 2, to, off, entry, self._lease))

    def _pass_over(self, foreign: set[bytes]) -> None:
        """Say once of each entry that it is none of ours."""
        for entry in foreign - self._foreign:
            logger.warning("an entry under %s is no instance, and is left out: %.200r", self._here, entry)
        self._foreign = foreign

    async def _try(self, command: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._client is None:
            raise DiscoveryUnavailable("the discovery is closed")
        try:
            return await command(self._client)
        except _UNREACHABLE as error:
            raise DiscoveryUnavailable(f"the discovery is out of reach: {error}") from error


def _read(entry: bytes) -> Place | None:
    """The instance, or nothing where whoever made this entry meant something else."""
    try:
        place = msgspec.json.decode(entry, type=Place)
        parts = urlsplit(place.url)
        reached = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return place if reached else None
