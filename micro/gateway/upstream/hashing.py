"""The same instance for the same client, path, header or cookie, as long as it is there.

Rendezvous hashing (D. Thaler and C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996): each instance has
a score for each key, and the best one gets it. So an instance that leaves moves its own keys only, and one that comes
takes its share and moves nothing between the others. Gateways with the same instances choose alike.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.instance import Instance

BUCKETS = 1 << 14
"""Keys are thrown into so many; with a hundred instances each has about 160 of them."""

_WORD = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15
"""The golden ratio in 64 bits: spreads neighbours."""


class Rendezvous:
    """Chooses by a part of the request. What has none of it goes by the client's address.

    An instance in slow start takes its keys one after the other, none of them twice.
    """

    __slots__ = ("_heaviest", "_instances", "_key", "_known", "_seeds")

    def __init__(self, hash_by: str) -> None:
        self._key = key_of(hash_by)
        self._instances: Sequence[Instance] = ()
        self._known: dict[int, Instance] = {}
        """The choice for each bucket that was asked for since the instances changed."""
        self._seeds: dict[Instance, int] = {}
        self._heaviest = 1.0

    def use(self, instances: Sequence[Instance]) -> None:
        """See `Balance.use`."""
        self._instances = instances
        self._known = {}
        self._heaviest = max(instance.weight for instance in instances)
        self._seeds = {instance: self._seeds.get(instance) or _seed(instance.url) for instance in instances}

    def pick(self, exchange: Exchange) -> Instance:
        """See `Balance.pick`."""
        bucket = crc32(self._key(exchange)) % BUCKETS
        instance = self._known.get(bucket)
        if instance is None:
            instance = self._known[bucket] = self._best(bucket, self._instances)
        return instance

    def among(self, exchange: Exchange, some: Sequence[Instance]) -> Instance:
        """See `Balance.among`."""
        return self._best(crc32(self._key(exchange)) % BUCKETS, some)

    def _best(self, bucket: int, instances: Sequence[Instance]) -> Instance:
        scores = [(_mixed(self._seeds[instance] ^ bucket * _ODD), instance) for instance in instances]
        ready = [pair for pair in scores if self._accepts(*pair)]
        return max(ready or scores, key=_score)[1]

    def _accepts(self, score: int, instance: Instance) -> bool:
        """Whether an instance in slow start takes this bucket already: the more weight it has, the more of them."""
        weight = instance.weight / self._heaviest
        return weight == 1.0 or _mixed(score ^ _ODD) < weight * _WORD


def _score(pair: tuple[int, Instance]) -> int:
    return pair[0]


def key_of(hash_by: str) -> Callable[[Exchange], bytes]:
    """What reads the key of `ip`, `path`, `header:NAME` or `cookie:NAME` from a request."""
    kind, _, name = hash_by.partition(":")
    if kind == "path":
        return _path
    if kind == "header":
        field = name.lower().encode("ascii")
        return lambda exchange: exchange.found.get(field) or _address(exchange)
    if kind == "cookie":
        wanted = name.encode("ascii")
        return lambda exchange: _cookie(exchange.found.get(b"cookie", b""), wanted) or _address(exchange)
    return _address


def _path(exchange: Exchange) -> bytes:
    return exchange.path


def _address(exchange: Exchange) -> bytes:
    return exchange.client.encode("ascii")


def _cookie(field: bytes, wanted: bytes) -> bytes:
    """The value of the first cookie of that name (RFC 6265 section 4.2.1); repeated fields are joined by commas."""
    for pair in field.replace(b",", b";").split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == wanted:
            return value
    return b""


def _seed(url: str) -> int:
    return int.from_bytes(blake2b(url.encode(), digest_size=8).digest(), "big")


def _mixed(number: int) -> int:
    """64 bits of which each depends on each of `number`'s (the finaliser of SplitMix64: G. Steele and others, 2014)."""
    number &= _WORD
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _WORD
    return number ^ number >> 31
