"""What `up` has to say once the stack answers, as data: a command prints it, `--detach` sends it through a pipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from micro.bus.ports import BusFeatures
    from micro.cache.ports import CacheFeatures
    from micro.store.ports import StoreFeatures

NEXT = ("micro routes", "micro events tail", "micro logs -f", "micro down")
"""The commands that people want next, in another terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One service that answers."""

    name: str
    url: str
    """Of its own port, or its first instance's."""
    health: str
    """`healthy`, or what the first look found instead."""
    seconds: float
    """That its start took, of the app's own and the database's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What runs where, since when, and what to know about it."""

    stack: str
    profile: str
    pid: int
    gateway: str
    """Its base URL; the documentation of all services is at `/docs`."""
    services: tuple[Started, ...]
    seconds: float
    """From the command's start to here."""
    reload: bool
    """Whether edits to the services' code are followed."""
    not_guaranteed: tuple[str, ...]
    """What this profile does not promise, a sentence each."""
    warnings: tuple[str, ...]
    next: tuple[str, ...] = NEXT

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Report:
        """What `as_dict` made, back from JSON."""
        services = tuple(Started(**each) for each in fields["services"])
        lists = {name: tuple(fields[name]) for name in ("not_guaranteed", "warnings", "next")}
        return cls(**{**fields, "services": services, **lists})


def not_guaranteed(
    stores: Iterable[StoreFeatures], bus: BusFeatures, cache: CacheFeatures, *, one_process: bool = True
) -> Iterator[str]:
    """What the back ends do not promise, nor the single process where all runs in one."""
    if not bus.survives_power_loss or not all(store.survives_power_loss for store in stores):
        yield "a power cut may take the last moments with it (a crash or kill -9 takes nothing)"
    if not bus.survives_restart:
        yield "events are forgotten when the stack stops"
    if not cache.shared_by_processes:
        yield "rate limits hold for this one gateway; they are counted anew after a restart"
    else:
        yield "while the cache is out of reach, each gateway counts its share of a rate limit for itself"
    if one_process:
        yield "one instance of each service, all in one process: they stop and start together"
