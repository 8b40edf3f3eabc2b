"""Passive checks: an instance that real requests fail on, one after the other, is set aside for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.upstream.instance import Instance
    from micro.spec.upstream import EjectionSpec


class Ejection:
    """Sets instances aside: `at_most` so many percent of them at a time, though one always may be.

    Each time in a row it takes twice as long. Who has stayed as long as it was set aside for begins anew.
    """

    __slots__ = ("_spec",)

    def __init__(self, spec: EjectionSpec) -> None:
        self._spec = spec

    def failed(self, instance: Instance, instances: Sequence[Instance], now: float) -> bool:
        """A request to it has failed. Whether it is set aside now; it is until `ejected_until`."""
        spec = self._spec
        instance.failures += 1
        if not 0 < spec.failures <= instance.failures or instance.ejected or instance.gone:
            return False
        if sum(one.ejected for one in instances) >= max(1, len(instances) * spec.at_most // 100):
            return False
        if now - instance.ejected_until > self._span(instance.ejections):
            instance.ejections = 0
        instance.ejections += 1
        instance.ejected = True
        instance.ejected_until = now + self._span(instance.ejections)
        return True

    def over(self, instance: Instance, now: float) -> bool:
        """Whether it is back now."""
        if not instance.ejected or now < instance.ejected_until:
            return False
        instance.ejected = False
        instance.failures = 0
        return True

    def _span(self, times: int) -> float:
        """Seconds that the ejection takes which is the `times`-th in a row."""
        return min(self._spec.longest, self._spec.period * 2.0 ** min(times - 1, 32))
