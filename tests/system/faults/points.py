"""Points on an event's way in the processes of a running stack, where somebody outside has something happen.

A process that reaches the point `POINT` looks for the file `POINT`, or `SERVICE.POINT`, in the folder of the variable
FAULTS. Who finds it takes it away, leaves its process id in `POINT.hit`, and does what stands in it:

| In the file | Happens |
|---|---|
| `kill` | SIGKILL of the process itself |
| `stop` | SIGSTOP of the process itself |
| `block SECONDS` | nothing else runs in this process for so long |
| `wait SECONDS` | this task rests for so long, others go on |

The points are those of `micro.testing.faults`. What else the variable FAULTS_HURRY, where it is set, changes: times that
are long in production are short, so that a test sees what happens after them.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from micro import registry
from micro.bus import kafka_member, lease
from micro.clock import SystemClock
from micro.runtime.parts.service import ServicePart
from micro.testing.faults import FaultyBus, FaultyStore

SESSION = 2.0
"""Seconds of silence after which a member of a group is taken for dead, in a hurry."""
LEASE = 2.0
"""Seconds after which a relay's claim runs out, in a hurry."""
GRACE = 1.0
"""Seconds that requests and events get when an instance stops, in a hurry."""


class Points:
    """What `micro.testing.faults` calls."""

    def __init__(self, folder):
        self._folder = folder
        self.service = ""

    async def __call__(self, point):
        for name in (point, f"{self.service}.{point}"):
            taken = self._folder / f"{name}.hit"
            try:
                (self._folder / name).rename(taken)
            except FileNotFoundError:
                continue
            what, _, seconds = taken.read_text().partition(" ")
            taken.write_text(str(os.getpid()))
            if what == "wait":
                await SystemClock().sleep(float(seconds))
            else:
                DEEDS[what](seconds)


DEEDS = {
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "block": lambda seconds: time.sleep(float(seconds)),  # noqa: TID251 # to hold up the whole process is the point
}


class Bus(FaultyBus):
    """What the runtime itself publishes has no state to be lost with."""

    async def publish(self, messages):
        if all(message.topic == "system.events" for message in messages):
            return await self._inner.publish(messages)
        return await super().publish(messages)


def install(points):
    """Let every back end that this process makes from now on call the points."""
    create = registry.create

    def faulty(port, url, **arguments):
        made = create(port, url, **arguments)
        if port == "bus":
            points.service = arguments.get("instance", "").partition("-")[0]
            return Bus(made, points)
        return FaultyStore(made, points) if port == "store" else made

    registry.create = faulty


def hurry():
    """Make long times short."""
    kafka_member._SESSION_MS = int(SESSION * 1000)
    kafka_member.AIOKafkaConsumer = partial(AIOKafkaConsumer, heartbeat_interval_ms=500)
    lease._TTL, lease._RENEW = LEASE, LEASE / 3
    drain = ServicePart.drain
    ServicePart.drain = lambda part, grace: drain(part, min(grace, GRACE))


if "FAULTS" in os.environ:
    install(Points(Path(os.environ["FAULTS"])))
    if "FAULTS_HURRY" in os.environ:
        hurry()
