"""The cache for production: values and rate limits on a server that speaks the Redis protocol.

Nothing authoritative lives there. While it is out of reach a value is one that isn't there, and of each limit this process
counts its share by itself; both are told by `degraded` and in the log, and end by themselves.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio as driver
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from micro.backend import Checkup, split_url
from micro.cache.ports import CacheFeatures, Hit, Quota
from micro.cache.window import SlidingWindow
from micro.errors import CacheUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from micro.clock import Clock

logger = logging.getLogger(__name__)

TIMEOUT = 0.5
"""Seconds for one answer: a cache that is slower than what it saves is none."""
COOL_DOWN = 1.0
"""Seconds after a failure in which the server is left alone."""
_UNREACHABLE = (RedisError, OSError, TimeoutError)
OLDEST = (6, 2)
_CONNECTIONS = 64
_URL = re.compile(r"rediss?://([^@/]*@)?(\[[^]]+\]|[^:/@]+)(:\d+)?(/\d*)?\Z")

_COUNT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local counts, allowed = {}, true
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[2 * i])
  counts[i] = redis.call('ZCARD', key)
  allowed = allowed and counts[i] < tonumber(ARGV[2 * i - 1])
end
local hits = {}
for i, key in ipairs(KEYS) do
  local limit, period, count = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i]), counts[i]
  local reset = period
  if allowed then
    redis.call('ZADD', key, now, now .. ':' .. count)
    redis.call('PEXPIRE', key, math.ceil(period / 1000))
    count = count + 1
  elseif count >= limit and limit > 0 then
    reset = redis.call('ZRANGE', key, count - limit, count - limit, 'WITHSCORES')[2] + period - now
  elseif count < limit then
    local newest = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
    reset = newest and newest + period - now or 0
  end
  hits[#hits + 1] = (allowed or counts[i] < limit) and 1 or 0
  hits[#hits + 1] = math.max(0, limit - count)
  hits[#hits + 1] = math.ceil(reset)
end
return hits
"""
"""Counts one request against every key or against none, by the server's own clock.

A key is a sorted set of the moments (in microseconds) of the requests that count. ARGV: limit and period for each key.
"""


class RedisCache:
    """`micro.cache.ports.Cache` and `micro.cache.ports.Window` on Redis 6.2 or Valkey.

    `url` is ``redis://[user][:password]@host:port/database``, ``rediss://`` for TLS. Every key begins with ``micro:``, or
    what ``?prefix=shop:`` says, and the stack: different ones don't meet.
    """

    features: ClassVar[CacheFeatures] = CacheFeatures(
        shared_by_processes=True, bounded=False, survives_restart=True
    )

    def __init__(self, url: str, *, clock: Clock, stack: str = "micro") -> None:
        self._url, prefix = _parse(url)
        self._prefix = f"{prefix}{stack}:"
        self._clock = clock
        self._client: Any = None
        self._count: Any = None
        self._alone = SlidingWindow(clock=clock)
        """Counts while the server is out of reach."""
        self.gateways: Callable[[], int] = lambda: 1
        """How many processes count requests; see `Window`."""
        self._again_at = 0.0
        self.degraded = False
        """Whether the server was out of reach when it was last needed."""

    @property
    def share(self) -> float:
        """The part of each limit that this process allows by itself: all, but while the server is out of reach."""
        return 1 / self._sharers if self.degraded else 1.0

    async def check(self) -> Checkup:
        """What the server is, and whether it counts requests for us. Needs no `open`.

        Raises `CacheUnavailable`, and `ConfigurationError` for a wrong password and a server that is too old.
        """
        client = self._connected()
        place = _place(self._url)
        try:
            await client.ping()
            about = await client.info("server")
            version = about.get("valkey_version") or about["redis_version"]
            if tuple(map(int, str(about["redis_version"]).split(".")[:2])) < OLDEST:
                raise ConfigurationError(
                    f"Redis {version} is too old; {'.'.join(map(str, OLDEST))} or newer is needed",
                    key="cache",
                )
            await client.eval(_COUNT, 1, f"{self._prefix}window:check", 1, 1000)
        except NoPermissionError as error:
            return Checkup(
                f"Redis at {place}", f"{place}: the user may not do what rate limits need: {error}"
            )
        except _UNREACHABLE as error:
            raise _refusal(error) or CacheUnavailable(f"{place}: no server answers: {error}") from error
        finally:
            await client.aclose()
        return Checkup(f"{'Valkey' if 'valkey_version' in about else 'Redis'} {version} at {place}")

    async def open(self) -> None:
        """Make the pool of connections; they are opened when needed. Raises `ConfigurationError` for a wrong password.

        A server that is out of reach now is no error: nothing here is needed to serve.
        """
        self._client = self._connected()
        self._count = self._client.register_script(_COUNT)
        try:
            await self._client.ping()
        except _UNREACHABLE as error:
            if refusal := _refusal(error):
                await self.close()
                raise refusal from error
            self._lost(error)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def get(self, key: str) -> bytes | None:
        """See `micro.cache.ports.Cache.get`."""
        value: bytes | None = await self._try(lambda client: client.get(self._value(key)))
        return value

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """See `micro.cache.ports.Cache.set`."""
        milliseconds = int(ttl * 1000)
        if milliseconds > 0:
            await self._try(lambda client: client.set(self._value(key), value, px=milliseconds))
        else:
            await self.delete(key)

    async def add(self, key: str, value: bytes, *, ttl: float) -> bool:
        """See `micro.cache.ports.Cache.add`."""
        milliseconds = int(ttl * 1000)
        if milliseconds <= 0:
            return await self.get(key) is None

        async def add(client: Any) -> bool:
            return bool(await client.set(self._value(key), value, px=milliseconds, nx=True))

        return await self._try(add) is not False

    async def delete(self, key: str) -> None:
        """See `micro.cache.ports.Cache.delete`."""
        await self._try(lambda client: client.delete(self._value(key)))

    async def hit(self, key: str, limit: int, period: float) -> Hit:
        """See `micro.cache.ports.Window.hit`."""
        [hit] = await self.hit_all((Quota(key, limit, period),))
        return hit

    async def hit_all(self, quotas: Sequence[Quota]) -> list[Hit]:
        """See `micro.cache.ports.Window.hit_all`. While the server is out of reach, this process counts its share."""
        keys = [f"{self._prefix}window:{quota.key}" for quota in quotas]
        arguments = [each for _, limit, period in quotas for each in (limit, int(period * 1_000_000))]
        answer = await self._try(lambda client: self._count(keys=keys, args=arguments, client=client))
        if answer is None:
            return self._alone.hit_all([_shared(quota, self._sharers) for quota in quotas])
        triples = zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        return [Hit(bool(allowed), remaining, reset / 1_000_000) for allowed, remaining, reset in triples]

    @property
    def _sharers(self) -> int:
        return max(1, self.gateways())

    def _connected(self) -> Any:
        # Blocking: who finds all connections in use waits for one. The other kind of pool raises then, at any burst.
        pool = driver.BlockingConnectionPool.from_url(
            self._url,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            max_connections=_CONNECTIONS,
            retry=Retry(NoBackoff(), 1),  # once: a connection may have been closed while it was idle
            protocol=2,
        )
        return driver.Redis.from_pool(pool)

    def _value(self, key: str) -> str:
        return f"{self._prefix}value:{key}"

    async def _try(self, command: Callable[[Any], Awaitable[Any]]) -> Any:
        """What the server answers; nothing while it is out of reach."""
        if self._client is None or (self.degraded and self._clock.monotonic() < self._again_at):
            return None
        try:
            answer = await command(self._client)
        except _UNREACHABLE as error:
            self._lost(error)
            return None
        if self.degraded:
            self.degraded = False
            logger.info("the cache is back")
        return answer

    def _lost(self, error: Exception) -> None:
        self._again_at = self._clock.monotonic() + COOL_DOWN
        if not self.degraded:
            self.degraded = True
            logger.warning(
                "the cache is out of reach; each gateway counts its share of the limits: %s", error
            )


def _shared(quota: Quota, sharers: int) -> Quota:
    """What one process allows of a quota: all of them together no more than the limit, unless that is less than one each."""
    return quota._replace(limit=min(quota.limit, max(1, quota.limit // sharers)))


def _refusal(error: Exception) -> ConfigurationError | None:
    if not isinstance(error, AuthenticationError):
        return None
    said = f"the server refuses the user or the password; check the URL of the profile's cache: {error}"
    return ConfigurationError(said, key="cache")


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}"


def _parse(url: str) -> tuple[str, str]:
    """The driver's URL, and the prefix of every key. Raises `ConfigurationError`."""
    parts = split_url(url, "cache")
    options = dict(parse_qsl(parts.query))
    prefix = options.pop("prefix", "micro:")
    if not _URL.match(url.partition("?")[0]):
        raise ConfigurationError("write redis://host:6379/0, a password before the host as :…@", key="cache")
    return parts._replace(query=urlencode(options)).geturl(), prefix
