"""Clusters whose time the tests decide."""

from __future__ import annotations

import pytest

from micro.gateway.deadlines import Wheel
from micro.gateway.exchange import Exchange
from micro.gateway.upstream.cluster import Cluster
from micro.spec.upstream import UpstreamSpec


class Told(list):
    """What a cluster has announced."""

    def __call__(self, *what):
        self.append(what)

    def about(self, name):
        """The states of one instance, in order."""
        return [state for _, instance, state in self if instance == name]


@pytest.fixture
async def wheel(clock):
    wheel = Wheel(clock)
    yield wheel
    await wheel.close()


@pytest.fixture
def still(clock):
    """A wheel that nothing turns, for tests without an event loop."""
    return Wheel(clock)


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def cluster_of(still, told):
    """Makes clusters: how many instances, and the settings that matter."""

    def make(instances=1, *, metrics=None, on=None, **settings):
        urls = instances if isinstance(instances, list) else urls_of(instances)
        spec = UpstreamSpec(**settings)
        return Cluster("shop", urls, spec=spec, wheel=on or still, metrics=metrics, announce=told)

    return make


def urls_of(count):
    return [f"http://10.0.0.{number}:9000" for number in range(1, count + 1)]


@pytest.fixture
def exchange():
    exchange = Exchange("GET", b"/orders/1", [(b"host", b"shop.test")])
    exchange.client = "203.0.113.7"
    return exchange
