"""Discovery on a server that speaks the Redis protocol: an entry is a lease, kept by the server's own clock.

Nothing authoritative lives there: who follows the list keeps what it knew while the server is away.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio as driver
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from micro.discovery.ports import LEASE, DiscoveryFeatures, Place, Places
from micro.errors import DiscoveryUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.clock import Clock

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
        latest = {
            (place.origin, *place[:2]): place for place in map(_read, here)
        }  # the last renewed come last
        return Places([*latest.values()], [_read(entry) for entry in left])

    async def _move(self, place: Place, to: str, off: str) -> None:
        entry = json.dumps(place)
        await self._try(lambda client: client.eval(_MOVE, 2, to, off, entry, self._lease))

    async def _try(self, command: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._client is None:
            raise DiscoveryUnavailable("the discovery is closed")
        try:
            return await command(self._client)
        except _UNREACHABLE as error:
            raise DiscoveryUnavailable(f"the discovery is out of reach: {error}") from error


def _read(entry: bytes) -> Place:
    service, instance, url, origin = json.loads(entry)
    return Place(service, instance, url, origin)
