"""One fault: load, the fault, its end, the time until the rate is back, and then what both ends say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faults.evidence import EFFECTS, Evidence, rate, recovered
from faults.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RECOVERY = 45.0
"""Seconds in which the rate must be back (I9), and everything must have arrived after that."""
LEAST = 40
"""Entries without which a run was about nothing (I12)."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fault, by its number in the list of faults, and what is done: `inject` returns when the fault is over."""

    fault: str
    text: str
    inject: Callable[..., Any]
    """Called with the world and the load; may return a remark."""
    after: Callable[..., Any] | None = None
    """The same, when the load has ended."""
    risky: bool = False
    """Whether some events become dead letters, for as long as the file `world.broken` is there."""
    again: tuple[str, ...] = ()
    """Keys, without the name of the run, whose events are replayed to `first` on purpose."""


def run(world, scenario):
    """Do it; the verdict."""
    name = f"{scenario.fault}-{world.now() * 1000:.0f}".lower()
    evidence = Evidence(world, name)
    if scenario.risky:
        world.broken.touch()
    with Load(world, name, risky=scenario.risky) as load:
        world.until(lambda: len(evidence.effects()) > LEAST, "events flow")
        began = world.now()
        world.rest(world.pick(1.0, 5.0))
        fault = world.now()
        remarks = [scenario.inject(world, load)]
        over = world.now()

        def recovery():
            effects = evidence.effects()
            before = rate(effects, began, fault)
            # A machine that is busy with other things by now is no fault of the stack's; half the load there must be.
            offered = max(EFFECTS * rate(evidence.entries(), over, world.now()), before / 2)
            seconds = recovered(effects, min(before, offered), over)
            return [] if seconds is None else [seconds]

        found = world.comes(recovery, limit=RECOVERY)
    world.disarm()
    if scenario.after is not None:
        remarks.append(scenario.after(world, load))
    settle(world, evidence)
    return evidence.verdict(
        scenario, load, recovery=found[0] if found else None, remark="; ".join(filter(None, remarks))
    )


def settle(world, evidence):
    """Wait until everything has arrived, or nothing more does."""
    before = -1
    while before < (now := len(evidence.effects())) and not world.comes(evidence.is_complete, limit=RECOVERY):
        before = now


def in_turn(*injections):
    """One after the other, under the same load."""

    def inject(world, load):
        return "; ".join(filter(None, [each(world, load) for each in injections]))

    return inject


def violations(verdict):
    """What must not be."""
    must_not = ("lost", "reordered", "doubled", "strange", "wrong")
    found = [f"{getattr(verdict, what)} {what}" for what in must_not if getattr(verdict, what)]
    found += [f"the rate was not back after {RECOVERY:g} s"] if verdict.recovery is None else []
    return found + (["too little happened"] if verdict.events < LEAST else [])
