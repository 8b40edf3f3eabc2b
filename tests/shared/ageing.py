"""Lets time pass on a Redis server at once, so that no test waits for it, and none is too slow for it."""

from __future__ import annotations

import redis.asyncio as driver

_AGE = """
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  if redis.call('TYPE', key).ok == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -ARGV[3], member)
    end
  end
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[2]) end
end
"""


async def age(url, pattern, seconds, *, unit):
    """Make the keys that match `pattern` older: their times to live, and what sorted sets are sorted by.

    `unit` is how many of what the scores count in are a second.
    """
    async with driver.Redis.from_url(url, protocol=2) as client:
        await client.eval(_AGE, 0, pattern, round(seconds * 1000), round(seconds * unit))
