"""Keys that take turns, on several replicas, without a token refused."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from micro.security.rotation import ANNOUNCED, DAY, MARGIN, RotatingKeys
from micro.security.tokens import Grant, TokenVerifier, issue

TOKEN_SECONDS = 900
PERIOD = 30 * DAY


class Table:
    """A key store as a database would be: the first of two inserts of one generation wins."""

    def __init__(self, clock) -> None:
        self.rows = {}
        self._clock = clock

    async def all(self):
        return [self.rows[generation] for generation in sorted(self.rows)]

    async def add(self, key):
        await self._clock.sleep(0)
        self.rows.setdefault(key.generation, key)

    async def prune(self, generation):
        self.rows = {number: key for number, key in self.rows.items() if number >= generation}


@pytest.fixture
def table(clock):
    return Table(clock)


@pytest.fixture
def keys(table, clock):
    return RotatingKeys(table, clock, TOKEN_SECONDS)


async def kids(keys):
    return [jwk["kid"] for jwk in (await keys.ring()).jwks()["keys"]]


async def test_the_first_key_is_made_when_first_needed(keys, table):
    """And signs at once."""
    ring = await keys.ring()
    assert list(table.rows) == [1]
    assert (await keys.ring()).current.kid == ring.current.kid


async def test_replicas_that_start_together_agree_on_one_key(table, clock):
    """The generation's number decides."""
    replicas = [RotatingKeys(table, clock, TOKEN_SECONDS) for _ in range(5)]
    rings = await asyncio.gather(*(replica.ring() for replica in replicas))
    assert len({ring.current.kid for ring in rings}) == 1
    assert list(table.rows) == [1]


async def test_a_young_key_stays(keys, table, clock):
    """Tending changes nothing before the time."""
    await keys.tend()
    await clock.advance(PERIOD - 1)
    await keys.tend()
    assert list(table.rows) == [1]


async def test_a_successor_is_published_before_it_signs(keys, table, clock):
    """So that every verifier has it by then."""
    first = (await keys.ring()).current.kid
    await clock.advance(PERIOD)
    await keys.tend()
    assert (await keys.ring()).current.kid == first
    assert len(await kids(keys)) == 2
    await clock.advance(ANNOUNCED)
    assert (await keys.ring()).current.kid != first


async def test_an_old_key_is_published_until_its_last_token_has_expired(keys, table, clock):
    """And then forgotten, secret and all."""
    first = (await keys.ring()).current.kid
    await clock.advance(PERIOD)
    await keys.tend()
    await clock.advance(ANNOUNCED + TOKEN_SECONDS + MARGIN - 1)
    await keys.tend()
    assert first in await kids(keys)
    await clock.advance(1)
    await keys.tend()
    assert first not in await kids(keys)
    assert list(table.rows) == [2]


async def test_replicas_that_rotate_together_make_one_successor(table, clock):
    """None fights the other."""
    replicas = [RotatingKeys(table, clock, TOKEN_SECONDS) for _ in range(5)]
    await replicas[0].ring()
    await clock.advance(PERIOD)
    await asyncio.gather(*(replica.tend() for replica in replicas))
    assert list(table.rows) == [1, 2]
    rings = await asyncio.gather(*(replica.ring() for replica in replicas))
    assert len({ring.current.kid for ring in rings}) == 1


async def test_a_long_pause_is_caught_up_with_one_key(keys, table, clock):
    """A stack that was off for a year makes one new key, not twelve, and still signs meanwhile."""
    await keys.ring()
    await clock.advance(12 * PERIOD)
    await keys.tend()
    assert list(table.rows) == [1, 2]
    assert await keys.ring()


async def test_a_clock_that_went_back_still_signs(keys, clock):
    """With the oldest key."""
    ring = await keys.ring()
    clock.jump(-3600)
    assert (await keys.ring()).current.kid == ring.current.kid


async def test_no_token_is_refused_through_two_rotations(table, clock):
    """Issued and checked every minute, by a verifier that keeps its own copy of the keys."""
    keys = RotatingKeys(table, clock, TOKEN_SECONDS, period=2 * 3600)

    class Published:
        issuer = "micro:user"

        async def keys(self):
            return (await keys.ring()).jwks()["keys"]

    verifier = TokenVerifier([Published()], clock=clock)
    alive, signers = [], set()
    for minute in range(5 * 60):
        if minute % 5 == 0:
            await keys.tend()
        grant = Grant(issuer="micro:user", subject="a", role="user", ttl=TOKEN_SECONDS)
        token = issue(await keys.ring(), grant, clock=clock)
        signers.add(jwt.get_unverified_header(token)["kid"])
        alive = [*alive[-14:], token]
        for each in (alive[0], alive[-1]):
            verifier._verified.clear()
            assert (await verifier.verify(each)).subject == "a"
        await clock.advance(60)
    assert len(signers) == 3


async def test_the_secret_is_in_no_text_form(keys, table):
    """A stored key that is logged shows nothing."""
    await keys.ring()
    assert table.rows[1].secret not in repr(table.rows[1])
