"""Instances on other machines: this process enters itself in the discovery, and follows who else is there.

What a discovery has said last holds while it is away. Everything here is about the instances of *other* supervisors: a
process hears of those beside it from its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from micro.errors import DiscoveryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.clock import Clock
    from micro.discovery.ports import Discovery, Place, Places

_log = logging.getLogger("micro.runtime.parts.registration")

LOOK = 1.0
"""Seconds between two looks at the list, and so until the others know who has come or gone."""
RENEW = 3.0
"""Seconds after which this process's own entry is renewed."""
PATIENCE = 5.0
"""Seconds for which an instance that is missing from the list stays: all are, when the list's server has started anew."""


class Registration:
    """`open`, keep `run` running, `withdraw` before requests are turned away, `close`."""

    def __init__(
        self,
        discovery: Discovery,
        *,
        own: Place,
        clock: Clock,
        found: Callable[[dict[str, list[str]]], None],
    ) -> None:
        """`found` is told the URLs of others' instances, by service, at each change.

        The origin of `own` is `HOST/ID`; who listens on loopback is of use to the same host only.
        """
        self._discovery = discovery
        self._own = own
        self._clock = clock
        self._found = found
        self._known: dict[Place, float] = {}
        """Others' instances, and since when they have been missing."""
        self._told: dict[str, list[str]] = {}
        self._due = -math.inf
        self._withdrawn = False
        self._looking = asyncio.Lock()
        """So that nothing is entered by a look that was under way when the entry was taken out."""
        self._away = False

    async def open(self) -> None:
        """Make ready; a list that is out of reach is no error."""
        await self._discovery.open()

    async def run(self) -> None:
        """Renew the own entry and follow the others'. Never returns."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK)

    async def look(self) -> None:
        """Renew the own entry where it is time, and take in the list as it is now."""
        async with self._looking:
            await self._look()

    async def withdraw(self) -> None:
        """Take the own entry out, and return when the others have had the time to see that. Nothing where there are none."""
        self._withdrawn = True
        try:
            async with self._looking:
                await self._discovery.withdraw(self._own)
        except DiscoveryUnavailable as error:
            _log.warning("the entry of %s runs out by itself: %s", self._own.instance, error)
            return
        if self._known:
            await self._clock.sleep(LOOK)

    async def close(self) -> None:
        """Let go of the list. Idempotent."""
        await self._discovery.close()

    async def _look(self) -> None:
        try:
            if self._clock.monotonic() >= self._due and not self._withdrawn:
                await self._discovery.register(self._own)
                self._due = self._clock.monotonic() + RENEW
            places = await self._discovery.places()
        except DiscoveryUnavailable as error:
            if not self._away:
                self._away = True
                _log.warning("instances on other machines stay as they were: %s", error)
            return
        if self._away:
            self._away = False
            _log.info("the discovery is back")
        self._take(places)

    def _take(self, places: Places) -> None:
        now = self._clock.monotonic()
        here = {place for place in places.here if self._concerns(place)}
        moved = {place[:2] + place[3:] for place in here}
        for place in self._known.keys() - here:
            since = min(self._known[place], now)
            gone = place in places.left or place[:2] + place[3:] in moved
            if gone or now - since >= PATIENCE:
                del self._known[place]
            else:
                self._known[place] = since
        self._known |= dict.fromkeys(here, math.inf)
        self._tell()

    def _tell(self) -> None:
        found: dict[str, list[str]] = {}
        for place in sorted(self._known):
            found.setdefault(place.service, []).append(place.url)
        if found != self._told:
            self._told = found
            self._found(found)

    def _concerns(self, place: Place) -> bool:
        if place.origin == self._own.origin:
            return False
        neighbour = place.origin.partition("/")[0] == self._own.origin.partition("/")[0]
        return neighbour or not _is_loopback(place.url)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
