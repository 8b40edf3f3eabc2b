"""The short form of every fault on the whole stack, on real servers; `make chaos` runs the long form."""

from __future__ import annotations

import pytest
from faults.every import SHORT
from faults.scenario import run, violations
from faults.world import World

pytestmark = [pytest.mark.live, pytest.mark.crash]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("faults"), hurry=True)
    try:
        made.open()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.fault)
def test_nothing_is_lost_reordered_or_doubled_and_the_rate_comes_back(world, scenario, record_property):
    verdict = run(world, scenario)
    record_property("verdict", str(verdict))
    assert not violations(verdict), verdict
