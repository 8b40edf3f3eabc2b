"""A verb without a running stack: this process opens what the verb needs, and closes it again.

Back ends that one process has for itself (a SQLite file, the bus in memory with its journal) are opened under the state
folder's lock. Those on servers need no lock and no folder: the same verbs work while stacks run on them, here or elsewhere.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from micro import registry
from micro.errors import StackNotRunning
from micro.profile import PORTS
from micro.runtime.assemble import assemble
from micro.runtime.operations import verbs_of
from micro.runtime.state import StateFolder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator

    from micro.clock import Clock
    from micro.config.read import Config
    from micro.profile import Profile
    from micro.registry import Port
    from micro.runtime.control import Verb

NEEDS: dict[str, tuple[Port, ...]] = {
    "events.list": ("bus",),
    "events.tail": ("bus",),
    "events.publish": ("bus",),
    "events.replay": PORTS,
    "events.trace": ("store", "bus"),
    "events.stats": ("store", "bus"),
    "dlq.list": ("store",),
    "dlq.inspect": ("store",),
    "dlq.replay": PORTS,
    "dlq.skip": ("store",),
    "dlq.purge": ("store",),
    "db.migrate": ("store",),
    "db.status": ("store",),
    "db.query": ("store",),
}
"""What each verb opens: handlers of events may use anything."""
_CREATING = frozenset({"db.migrate", "events.publish"})
"""Those that make the state folder where there is none; the others have nothing to look at without one."""
_ABSENT: dict[str, Literal["make", "note"]] = {"db.migrate": "make", "db.status": "note", "db.query": "note"}


@asynccontextmanager
async def open_offline(
    config: Config, profile: Profile, *, verb: str, service: str | None = None, clock: Clock | None = None
) -> AsyncIterator[Verb]:
    """One verb (a key of `NEEDS`), its back ends open; of the databases, with `service`, only that one's.

    No app is started and no event handled, but for what the verb itself does. Services' migrations are left as they are.

    Raises `StackNotRunning` for private back ends where no stack has ever run, so that a look leaves no files behind;
    `StackRunning` where one was started meanwhile; and what `assemble` and the back ends raise.
    """
    ports = NEEDS[verb]
    if "cache" not in ports:
        profile = replace(profile, cache="memory:")  # that needs no driver, and no key of the stack's
    with _held(config, create=verb in _CREATING) if _private(profile, ports) else _nothing():
        system = assemble(config, profile, clock=clock)
        try:
            absent = _ABSENT.get(verb)
            await system.open(migrate=False, ports=ports, service=service, absent=absent or "refuse")
            yield verbs_of(system)[verb]
        finally:
            await system.close()


def follows(profile: Profile) -> bool:
    """Whether the bus can be followed from this process while others publish."""
    return not _private(profile, NEEDS["events.tail"])


def _private(profile: Profile, ports: Collection[Port]) -> bool:
    """Whether this process must have one of these back ends for itself. A cache that is not shared is nobody else's."""
    return any(
        not registry.backend_class(port, getattr(profile, port)).features.shared_by_processes
        for port in ports
        if port != "cache"
    )


@contextmanager
def _held(config: Config, *, create: bool) -> Iterator[None]:
    if not create and not config.stack.state.exists():
        raise StackNotRunning(f"no stack has run here yet ({config.stack.root}); start one with: micro up")
    folder = StateFolder(config.stack.state)
    folder.acquire()
    try:
        yield
    finally:
        folder.release()


@contextmanager
def _nothing() -> Iterator[None]:
    yield
