"""The keys of an issuer: fetched when needed, once, and not too often."""

from __future__ import annotations

import asyncio
import logging

import pytest

from micro.errors import CallError, TokenError
from micro.security.issuers import COOL_DOWN, MAX_AGE, MAX_KEYS, RETRY, Issuer


class Source:
    """Publishes `published`, counts how often it is asked, and can be held or fail."""

    issuer = "micro:user"

    def __init__(self, *keys) -> None:
        self.published = [key.public for key in keys]
        self.asked = 0
        self.failure: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def keys(self):
        self.asked += 1
        await self.open.wait()
        if self.failure:
            raise self.failure
        return self.published


@pytest.fixture
def source(key):
    return Source(key)


@pytest.fixture
def issuer(source, clock):
    return Issuer(source, clock=clock)


async def test_keys_are_fetched_when_first_needed(issuer, source, key):
    """Not before, and not again."""
    assert source.asked == 0
    assert await issuer.key(key.kid) is await issuer.key(key.kid)
    assert source.asked == 1


async def test_many_requests_at_once_fetch_once(issuer, source, key, clock):
    """The others wait for the one."""
    source.open.clear()
    waiting = [asyncio.create_task(issuer.key(key.kid)) for _ in range(50)]
    await clock.sleep(0)
    source.open.set()
    assert len(await asyncio.gather(*waiting)) == 50
    assert source.asked == 1


async def test_a_flood_of_unknown_ids_fetches_once_per_cool_down(issuer, source, key, clock):
    """Invented ids cost the issuer nothing."""
    await issuer.key(key.kid)
    for number in range(200):
        with pytest.raises(TokenError):
            await issuer.key(f"invented-{number}")
    assert source.asked == 1
    await clock.advance(COOL_DOWN)
    for number in range(200):
        with pytest.raises(TokenError):
            await issuer.key(f"invented-{number}")
    assert source.asked == 2


async def test_a_concurrent_flood_fetches_once(issuer, source, clock, key):
    """Also when they come together."""
    await issuer.key(key.kid)
    await clock.advance(COOL_DOWN)
    answers = await asyncio.gather(*(issuer.key(f"no-{n}") for n in range(100)), return_exceptions=True)
    assert all(isinstance(answer, TokenError) for answer in answers)
    assert source.asked == 2


async def test_known_keys_work_during_a_flood(issuer, source, key, clock):
    """Nobody waits for a fetch that an unknown id caused."""
    await issuer.key(key.kid)
    await clock.advance(COOL_DOWN)
    source.open.clear()
    flood = asyncio.create_task(issuer.key("invented"))
    await clock.sleep(0)
    async with asyncio.timeout(1):
        assert await issuer.key(key.kid)
    source.open.set()
    with pytest.raises(TokenError):
        await flood


async def test_a_new_key_is_found_after_the_cool_down(issuer, source, key, other_key, clock):
    """When it was not announced before its use."""
    await issuer.key(key.kid)
    source.published.append(other_key.public)
    with pytest.raises(TokenError):
        await issuer.key(other_key.kid)
    await clock.advance(COOL_DOWN)
    assert await issuer.key(other_key.kid)


async def test_an_announced_key_is_known_before_it_is_used(issuer, source, key, other_key, clock):
    """Keys are asked for again when they are old: so a rotation refuses no token."""
    await issuer.key(key.kid)
    source.published.append(other_key.public)
    await clock.advance(MAX_AGE)
    await issuer.key(key.kid)
    asked = source.asked
    assert await issuer.key(other_key.kid)
    assert source.asked == asked


async def test_a_withdrawn_key_is_forgotten(issuer, source, key, other_key, clock):
    """At the latest when the keys are old."""
    source.published.append(other_key.public)
    await issuer.key(key.kid)
    source.published = [other_key.public]
    await clock.advance(MAX_AGE)
    with pytest.raises(TokenError):
        await issuer.key(key.kid)


async def test_while_old_keys_are_fetched_again_they_stay_in_use(issuer, source, key, clock):
    """Only one request waits."""
    await issuer.key(key.kid)
    await clock.advance(MAX_AGE)
    source.open.clear()
    first = asyncio.create_task(issuer.key(key.kid))
    await clock.sleep(0)
    async with asyncio.timeout(1):
        assert await issuer.key(key.kid)
    source.open.set()
    assert await first


async def test_when_fetching_fails_known_keys_stay_in_use(issuer, source, key, clock, caplog):
    """An issuer that restarts locks nobody out."""
    await issuer.key(key.kid)
    await clock.advance(MAX_AGE)
    source.failure = CallError("user: refused")
    with caplog.at_level(logging.WARNING):
        assert await issuer.key(key.kid)
    assert "can't be had" in caplog.text


async def test_when_the_first_fetch_fails_it_is_a_call_error(issuer, source, key, clock):
    """And tried again soon, but not at once."""
    source.failure = CallError("user: refused")
    for _ in range(20):
        with pytest.raises(CallError, match="micro:user"):
            await issuer.key(key.kid)
    assert source.asked == 1
    source.failure = None
    await clock.advance(RETRY)
    assert await issuer.key(key.kid)


async def test_an_unknown_id_after_a_failed_fetch_is_a_call_error(issuer, source, key, clock):
    """It may well be a new key."""
    await issuer.key(key.kid)
    await clock.advance(COOL_DOWN)
    source.failure = CallError("user: refused")
    with pytest.raises(CallError):
        await issuer.key("perhaps-new")


async def test_a_cancelled_fetch_does_not_count(issuer, source, key, clock):
    """Whoever hangs up can't keep others from the keys."""
    source.open.clear()
    first = asyncio.create_task(issuer.key(key.kid))
    await clock.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.open.set()
    assert await issuer.key(key.kid)


async def test_keys_of_other_kinds_are_passed_over(issuer, source, key):
    """An identity provider publishes RSA keys too."""
    source.published = [{"kty": "RSA", "kid": "r"}, {"kty": "OKP", "crv": "Ed25519"}, key.public]
    assert await issuer.key(key.kid)
    with pytest.raises(TokenError):
        await issuer.key("r")


async def test_a_published_id_is_used_where_there_is_one(issuer, source, key):
    """Other issuers name their keys otherwise."""
    source.published = [{**key.public, "kid": "2026-01"}]
    assert await issuer.key("2026-01")


async def test_the_number_of_keys_is_bounded(issuer, source, key):
    """Whatever is published."""
    source.published = [{**key.public, "kid": str(number)} for number in range(MAX_KEYS + 1)]
    assert await issuer.key(str(MAX_KEYS - 1))
    with pytest.raises(TokenError):
        await issuer.key(str(MAX_KEYS))
