"""The keys of one issuer as this process knows them: fetched when needed, by one task at a time, never too often."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from micro.errors import CallError, TokenError
from micro.security.algorithms import algorithms_of, thumbprint, verification_key
from micro.security.keys import ALGORITHM

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from micro.clock import Clock
    from micro.security.algorithms import PublicKey
    from micro.security.sources import KeySource

logger = logging.getLogger(__name__)

MAX_AGE = 300.0
"""Seconds after which keys are asked for again; a key that is no longer published is forgotten then."""
COOL_DOWN = 5.0
"""Seconds between two fetches because of unknown key ids, so that invented ones cost the issuer nothing."""
RETRY = 1.0
"""Seconds between two fetches after a failed one."""
TIMEOUT = 3.0
MAX_KEYS = 100


class Issuer:
    """Finds the key that a token names among those that `source` publishes for one of `algorithms`.

    A key is found under the algorithms of its own kind only, so none can be used in a way it was not made for
    (RFC 8725 section 3.1).
    """

    def __init__(
        self, source: KeySource, *, clock: Clock, algorithms: Collection[str] = (ALGORITHM,)
    ) -> None:
        self._source = source
        self._clock = clock
        self._algorithms = algorithms
        self._keys: dict[tuple[str, str], PublicKey] = {}
        self._fetched = float("-inf")
        self._not_before = float("-inf")
        self._failure: Exception | None = None
        self._fetching = asyncio.Lock()

    async def key(self, kid: str, algorithm: str = ALGORITHM) -> PublicKey:
        """The key with that id, for that algorithm.

        Fetches for an unknown id and when the keys are old; while that runs or fails, known keys stay in use. Raises
        `TokenError` for an id that is not published, `CallError` when that can't be found out.
        """
        now = self._clock.monotonic()
        wanted = (kid, algorithm)
        known = self._keys.get(wanted)
        if known is not None and (now - self._fetched < MAX_AGE or self._fetching.locked()):
            return known
        async with self._fetching:
            if self._clock.monotonic() >= self._not_before and (
                wanted not in self._keys or known is not None
            ):
                await self._fetch()
        found = self._keys.get(wanted)
        if found is not None:
            return found
        if self._failure is not None:
            raise CallError(f"The keys of {self._source.issuer} can't be had.") from self._failure
        raise TokenError("The token is signed by a key that is not known here.")

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                published = await self._source.keys()
        except (CallError, TimeoutError) as error:
            logger.warning("the keys of %s can't be had: %s", self._source.issuer, error)
            self._failure = error
            self._not_before = self._clock.monotonic() + RETRY
            return
        self._failure = None
        self._keys = {}
        for jwk in published[:MAX_KEYS]:
            try:
                self._keep(jwk)
            except ValueError as error:
                logger.info("%s publishes a key that is not used here: %s", self._source.issuer, error)
        self._fetched = self._clock.monotonic()
        self._not_before = self._fetched + COOL_DOWN

    def _keep(self, jwk: dict[str, Any]) -> None:
        usable = [name for name in algorithms_of(jwk) if name in self._algorithms]
        if usable:
            kid, key = str(jwk.get("kid") or thumbprint(jwk)), verification_key(jwk)
            self._keys |= {(kid, name): key for name in usable}
