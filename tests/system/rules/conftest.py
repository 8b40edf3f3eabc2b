"""Gateways on real sockets between a scripted client and a scripted origin."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # the tests import what lies in `rig`

from rig.combinations import COMBINATIONS
from rig.world import Loop, World


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(ability): runs over the combinations that can express it")


def pytest_generate_tests(metafunc):
    """Every test of a `world` runs over all combinations of adapter and upstream that can do what it needs."""
    if "world" in metafunc.fixturenames:
        needed = [ability for mark in metafunc.definition.iter_markers("needs") for ability in mark.args]
        able = [each for each in COMBINATIONS if not any(map(each.lacks, needed))]
        metafunc.parametrize("world", able, ids=str, indirect=True)


@pytest.fixture(scope="session")
def gateway_loop():
    """The thread in which the gateways of all tests run, one after the other."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def world(request, gateway_loop):
    """A gateway, not started yet."""
    made = World(gateway_loop, request.param)
    yield made
    made.close()
