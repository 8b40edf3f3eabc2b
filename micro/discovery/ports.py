"""What micro asks of a discovery: which instances there are, on whatever machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from micro.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE = 10.0
"""Seconds after which an instance that is not registered again is there no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryFeatures:
    """What a backend promises. The contract suite tests what is promised and skips the rest by name."""

    shared_by_processes: bool
    """What one process registers, the others find."""
    leases: bool
    """Who is not registered again is forgotten after `LEASE` seconds."""


class Place(NamedTuple):
    """One instance, and where it is reached."""

    service: str
    instance: str
    """Its name: `task-1`."""
    url: str
    origin: str
    """Who runs it; the instances of one origin have different names."""


class Places(NamedTuple):
    """What there is at one moment, in no order."""

    here: Sequence[Place]
    left: Sequence[Place]
    """Withdrawn less than `LEASE` seconds ago. One that is in neither list may just be unknown for a moment."""


class Discovery(Backend, Protocol):
    """A list of instances that each keeps its own entry in. Safe to call concurrently.

    Every method raises `DiscoveryUnavailable` where the list is out of reach; the same call may work later.
    """

    features: ClassVar[DiscoveryFeatures]

    async def register(self, place: Place) -> None:
        """Enter an instance for `LEASE` seconds, or renew its lease; call it several times in that span."""
        ...

    async def withdraw(self, place: Place) -> None:
        """Take an instance out: it wants no more requests. No error where it isn't entered."""
        ...

    async def places(self) -> Places:
        """Every instance whose lease holds now."""
        ...
