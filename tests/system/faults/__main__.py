"""The long form of every fault, on the whole stack: `make chaos`. Arguments choose: `F4`, or words of a line.

Prints a line of the table for each. Ends with 1 where an invariant did not hold.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / "system"), str(TESTS / "shared")]  # the stacks import what lies in the first, too

from faults.every import LONG
from faults.scenario import run, violations
from faults.world import World

HEAD = "| Fault | What is done | Events | Lost | Reordered | Effects doubled | Twice on the wire | Rate back after |"
RULE = "|---|---|---:|---:|---:|---:|---:|---:|"


def line(verdict):
    """The table's line for it."""
    text = f"{verdict.text} ({verdict.remark})" if verdict.remark else verdict.text
    numbers = (verdict.events, verdict.lost, verdict.reordered, verdict.doubled, verdict.twice)
    back = (
        "never"
        if verdict.recovery is None
        else f"{verdict.recovery:.1f} s"
        if verdict.recovery
        else "at once"
    )
    return f"| {' | '.join([verdict.fault, text, *(f'{number:,}' for number in numbers), back])} |"


def chosen(words):
    """The scenarios that somebody asks for; all for none."""
    found = [
        each for each in LONG if not words or any(word == each.fault or word in each.text for word in words)
    ]
    if not found:
        faults = dict.fromkeys(each.fault for each in LONG)
        raise SystemExit(f"no such fault: {' '.join(words)}; there are {', '.join(faults)}")
    return found


def main(words):
    """Run them on one stack."""
    scenarios, broken = chosen(words), []
    print(
        f"{os.cpu_count()} processors for everything: load, stack and servers\n\n{HEAD}\n{RULE}", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), hurry=False)
        try:
            world.open()
            for scenario in scenarios:
                verdict = run(world, scenario)
                print(line(verdict), flush=True)
                broken += [f"{scenario.fault} {scenario.text}: {what}" for what in violations(verdict)]
        finally:
            world.close()
    if broken:
        raise SystemExit("\n".join(broken))


if __name__ == "__main__":
    main(sys.argv[1:])
