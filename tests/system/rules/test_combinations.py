"""What a combination of adapter and upstream can't express is written down, and nothing else is left out."""

from __future__ import annotations

import re
from pathlib import Path

from rig.combinations import COMBINATIONS, HIDDEN_BY

NEEDS = re.compile(r'mark\.needs\("([^"]+)"\)')


def test_every_gap_is_one_that_some_test_meets():
    needed = {
        ability
        for file in Path(__file__).parent.glob("test_*.py")
        for ability in NEEDS.findall(file.read_text())
    }
    assert needed == {ability for hidden in HIDDEN_BY.values() for ability in hidden}


def test_the_gaps_are_these():
    """A new one is a decision: this list is read by whoever wants to know what is not tested, and why."""
    lacking = {
        str(each): sorted(hidden for hidden in _abilities() if each.lacks(hidden)) for each in COMBINATIONS
    }
    local = ["bytes of an answer", "connections", "instances", "interim answers", "tries"]
    assert lacking == {
        "asgi-local": local,
        "asgi-network": ["calls", "interim answers"],
        "protocol-local": local,
        "protocol-network": ["calls"],
    }


def _abilities():
    return {ability for hidden in HIDDEN_BY.values() for ability in hidden}
