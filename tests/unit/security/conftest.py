"""What the tests of `micro.security` share."""

from __future__ import annotations

import pytest

from micro.security.keys import SigningKey
from micro.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def key(clock):
    return SigningKey.generate(clock)


@pytest.fixture
def other_key(clock, key):
    return SigningKey.generate(clock)
