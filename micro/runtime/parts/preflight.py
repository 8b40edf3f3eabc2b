"""What looks at a stack before any of it starts: at its services' code as a whole, and at every server of its profile.

In a process of its own, which ends then: the supervisor imports no service, and no driver.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from micro import registry
from micro.config.load import load_stack
from micro.runtime.parts.base import BasePart
from micro.runtime.preflight import Preflight, refusal
from micro.runtime.report import not_guaranteed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from micro.runtime.parts.description import Description, Start


class PreflightPart(BasePart):
    """Knows its `facts` from the code; asks the servers when it is asked to. Never starts."""

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        self._loaded = load_stack(self.choice.of(self.read().stack))
        self.facts = {"warnings": list(self._loaded.warnings)}
        self.verbs = {"check": self._check}

    async def start(self, start: Start) -> None:
        """See `Part.start`."""

    async def _check(self, *, migrate: bool) -> dict[str, Any]:
        """What to tell of each server, and what this profile then does not guarantee. Raises what keeps it from starting."""
        preflight = Preflight(self.profile, self._loaded, clock=self.clock, migrate=migrate)
        findings = await preflight.run()
        if error := refusal(findings):
            raise error
        return {
            "told": [finding.line for finding in findings],
            "not_guaranteed": list(self._not_guaranteed(durable=preflight.durable)),
        }

    def _not_guaranteed(self, *, durable: bool) -> Iterable[str]:
        profile = self.profile
        store = registry.backend_class("store", profile.store).features
        bus = registry.backend_class("bus", profile.bus).features
        bus = replace(bus, survives_power_loss=bus.survives_power_loss and durable)
        cache = registry.backend_class("cache", profile.cache).features
        return not_guaranteed([store], bus, cache, one_process=False)
