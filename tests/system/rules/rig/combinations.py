"""Which combinations of adapter and upstream there are, and what each can't express."""

from __future__ import annotations

from dataclasses import dataclass

from rig.bridge import Bridge

from micro.gateway.upstream.cluster import Cluster
from micro.gateway.upstream.local import LocalUpstream
from micro.gateway.upstream.network import NetworkUpstream


def local(world):
    """The origin as an app in this process."""
    return LocalUpstream(world.app or Bridge(world.origin.address))


def network(world):
    """The origin as an instance on the network."""
    cluster = Cluster("app", world.urls, spec=world.instances, wheel=world.wheel, metrics=world.metrics)
    return NetworkUpstream(cluster, clock=world.clock, wheel=world.wheel)


UPSTREAMS = {"local": local, "network": network}

HIDDEN_BY = {
    "local": {
        "bytes of an answer": "an app in this process hands over values, which have no framing to be wrong",
        "connections": "there is no connection to an app in this process",
        "tries": "an app in this process is called, once, whatever happens",
        "interim answers": "ASGI has no message for an interim answer",
        "instances": "there is one app, and it is always there",
    },
    "network": {
        "calls": "an instance on the network raises nothing",
    },
    "asgi": {
        "interim answers": "ASGI has no message for an interim answer",
    },
    "protocol": {},
}
"""By adapter and by upstream: the abilities that a test may ask for with the mark `needs`, and why they are missing."""


@dataclass(frozen=True)
class Combination:
    """One adapter before one upstream."""

    adapter: str
    place: str

    def __str__(self):
        return f"{self.adapter}-{self.place}"

    def lacks(self, ability):
        """Why it can't do something; nothing if it can."""
        return HIDDEN_BY[self.adapter].get(ability) or HIDDEN_BY[self.place].get(ability)

    def upstream(self, world):
        """The upstream, made in the event loop of the gateway."""
        return UPSTREAMS[self.place](world)


COMBINATIONS = [Combination(adapter, upstream) for adapter in ("asgi", "protocol") for upstream in UPSTREAMS]
