"""What the tests of `micro.web` share: resources without a database, and clients."""

from __future__ import annotations

import pytest

from micro.cache.memory import MemoryCache
from micro.service import Resources
from micro.testing import AsgiClient, FakeCaller, FakeClock, FakeVerifier


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def verifier(clock):
    return FakeVerifier(clock)


@pytest.fixture
def resources(clock, verifier):
    return Resources(
        name="shop",
        clock=clock,
        cache=MemoryCache("memory:", clock=clock),
        env={},
        verifier=verifier,
        caller=FakeCaller(),
    )


@pytest.fixture
def client_of(resources):
    """Make a client of an app that finds its resources, as `ServiceApp` would give them."""

    def make(app, **headers):
        return AsgiClient(app, headers=headers, extensions={"state": {"micro": resources}})

    return make
