"""What the supervisor tells a child, and what the child runs: the contract between `micro.runtime.multi.worker` and its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from micro.runtime.multi.lifeline import Answer


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is to be. Its URLs hold passwords: it is only ever sent over the life line."""

    role: Literal["service", "program", "gateway", "preflight", "operations"]
    service: str
    """Its name, or the role."""
    number: int
    """From 1; of no other instance that runs."""
    directory: str
    """Where the configuration is looked for."""
    profile: str
    """Its name."""
    store: str
    """As `micro.profile.Profile` has it, with the servers' real URLs; so are the next two."""
    bus: str
    cache: str
    replicas: dict[str, int] = {}
    flags: dict[str, Any] = {}
    """Key paths of the stack that the command line set."""
    names: tuple[str, ...] = ()
    """The services that run; empty: all of the stack."""
    depends: bool = True
    """Those that they depend on, too."""
    level: str = "info"
    """The least level of log records to keep."""
    logs: str
    """The folder for them."""
    grace: float = 10.0
    """Seconds that requests and events in hand get."""
    origin: str = ""
    """The supervisor's own name among all that there are: its children have it in common."""
    control: str = ""
    """Where the helper for verbs listens."""
    build: str = "micro.runtime.parts.build:build"
    """`module:function`, called with this and giving a `Part`."""

    @property
    def instance(self) -> str:
        """`task-1`."""
        return f"{self.service}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a part is given when it may start: everything that it depends on answers."""

    public: socket.socket | None
    """Bound and listening; every instance of the service accepts from it. Close it to accept no more."""
    private: socket.socket
    """This instance's own, on loopback: where peers find it."""
    gateway: str
    """The gateway's base URL."""
    urls: Mapping[str, str]
    """Base URLs of the services' public ports."""
    peers: Mapping[str, list[str]]
    """Per service, the base URLs of the instances that may get traffic now."""
    facts: Mapping[str, Mapping[str, Any]]
    """Of every service, what its part found in its code."""


class Part(Protocol):
    """What a child runs. Constructed by a build function, which opens nothing; closed after a half-failed start, too."""

    facts: Mapping[str, Any]
    """Known from the code: `port` and `routes` that a service declares, `warnings`."""
    verbs: Mapping[str, Answer]
    """What the supervisor may ask: `health` (`{"state", "reason"}`), `peers` (`services`: the set that holds from now on,
    answered when no new request goes elsewhere), `open` (`facts` as in `Start`: asked before a start, perhaps), and whatever else its role has."""

    async def start(self, start: Start) -> None:
        """Open, start, serve and work; return when it is ready. Raises `MicroError`, a sentence for people."""
        ...

    async def run(self) -> None:
        """Go on until cancelled. Raises `MicroError` where that can't be, with how it ended."""
        ...

    async def drain(self, grace: float) -> None:
        """Accept no more, and finish requests and events in hand, within `grace` seconds."""
        ...

    async def close(self) -> None:
        """Leave nothing behind. Idempotent."""
        ...
