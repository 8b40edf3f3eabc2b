"""A discovery for instances that never move: those that its URL lists, and those that this process enters itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl, urlsplit

from micro.discovery.ports import DiscoveryFeatures, Place, Places
from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from micro.clock import Clock

_ORIGIN = "static"


class StaticDiscovery:
    """`micro.discovery.ports.Discovery` without a server: no other process hears of what is entered.

    `url` is ``static:?task=http://10.0.0.5:9000&task=http://10.0.0.6:9000``: a service and a base URL, any number of times.
    """

    features: ClassVar[DiscoveryFeatures] = DiscoveryFeatures(shared_by_processes=False, leases=False)

    def __init__(self, url: str, *, clock: Clock, stack: str = "micro") -> None:
        self._listed = _listed(url)
        self._entered: dict[tuple[str, str, str], Place] = {}

    async def open(self) -> None:
        """See `Backend.open`."""

    async def close(self) -> None:
        """See `Backend.close`."""

    async def register(self, place: Place) -> None:
        """See `Discovery.register`."""
        self._entered[_key(place)] = place

    async def withdraw(self, place: Place) -> None:
        """See `Discovery.withdraw`."""
        self._entered.pop(_key(place), None)

    async def places(self) -> Places:
        """See `Discovery.places`."""
        return Places([*self._listed, *self._entered.values()], [])


def _key(place: Place) -> tuple[str, str, str]:
    return place.origin, place.service, place.instance


def _listed(url: str) -> list[Place]:
    places = []
    for number, (service, base) in enumerate(parse_qsl(urlsplit(url).query, keep_blank_values=True), 1):
        if urlsplit(base).scheme not in {"http", "https"} or not urlsplit(base).hostname:
            raise ConfigurationError(f"{service}: write static:?{service}=http://host:port", key="discovery")
        places.append(Place(service, f"{service}-{number}", base.rstrip("/"), _ORIGIN))
    return places
