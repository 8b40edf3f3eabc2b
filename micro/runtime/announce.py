"""`system.events`: what happened to instances, told on the bus.

Best effort, and said so: these events have no state to commit with. What can't be published is logged and forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from micro.bus.codec import encode
from micro.bus.origin import Origin
from micro.errors import BusError

if TYPE_CHECKING:
    from micro.bus.message import Message
    from micro.bus.ports import Bus
    from micro.clock import Clock

_log = logging.getLogger("micro.runtime.announce")

TOPIC = "system.events"
_MOST_WAITING = 1000
_TYPES = {
    "started": "InstanceStartedEvent",
    "stopped": "InstanceStoppedEvent",
    "healthy": "InstanceHealthyEvent",
    "unhealthy": "InstanceUnhealthyEvent",
    "ejected": "InstanceEjectedEvent",
    "returned": "InstanceReturnedEvent",
    "opened": "BreakerOpenedEvent",
    "closed": "BreakerClosedEvent",
    "panic": "PanicStartedEvent",
    "calm": "PanicEndedEvent",
}


class Announcer:
    """Queues events about instances, the oldest dropped where too many wait; `run` publishes them."""

    def __init__(self, bus: Bus | None, *, clock: Clock) -> None:
        self.bus = bus
        """Nothing, as long as nothing is to be published."""
        self._origin = Origin("micro", clock)
        self._waiting: deque[Message] = deque(maxlen=_MOST_WAITING)
        self._news = asyncio.Event()

    def tell(self, service: str, what: str, *, pid: int | None = None, instance: str = "") -> None:
        """Queue one event about an instance: started, stopped, healthy or unhealthy. The service is its key.

        `pid` is this process's, and `instance` the service's only one, unless given.
        """
        self._queue(service, what, {"instance": instance or f"{service}-1", "pid": pid or os.getpid()})

    def tell_of(self, service: str, instance: str, what: str) -> None:
        """Queue what a cluster says of one of its instances, or, without one, of all (see `Cluster`)."""
        self._queue(service, what, {"instance": instance} if instance else {})

    def _queue(self, service: str, what: str, details: dict[str, Any]) -> None:
        data = {"service": service, **details}
        self._waiting.append(encode(self._origin.event(TOPIC, _TYPES[what], data, key=service)))
        self._news.set()

    async def run(self) -> None:
        """Publish what is queued, as it comes. Never returns."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.flush()

    async def flush(self) -> None:
        """Publish what is queued now."""
        messages = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not messages:
            return
        try:
            assert self.bus is not None
            await self.bus.publish(messages)
        except BusError as error:
            _log.warning("%d events about instances were not published: %s", len(messages), error)
