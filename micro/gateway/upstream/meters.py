"""What the metrics say of a service's instances."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from micro.gateway.upstream.instance import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from micro.gateway.upstream.instance import Instance
    from micro.gateway.upstream.roster import Roster
    from micro.gateway.upstream.slots import Slots
    from micro.telemetry.metrics import Gauge, Metrics, Series

    Watched = tuple[Gauge, tuple[str, ...], Callable[[], float]]

_OF_INSTANCE: Sequence[tuple[str, str, Callable[[Instance], float]]] = (
    ("micro_upstream_active_requests", "Requests in flight to an instance.", lambda one: one.active),
    (
        "micro_upstream_fit",
        "Whether neither probes nor traffic speak against an instance.",
        lambda one: one.fit,
    ),
    ("micro_upstream_weight", "How much of its share an instance gets.", lambda one: one.weight),
    (
        "micro_upstream_breaker_state",
        "An instance's circuit breaker: 0 closed, 1 open, 2 half-open.",
        lambda one: one.breaker.state,
    ),
)
_COUNTED = {
    "retries": "Requests sent again.",
    "retries_denied": "Retries that the budget did not allow.",
    "ejections": "Instances set aside for their failures.",
    "breaker_openings": "Breakers of instances that opened.",
}


class Meters:
    """Gauges that look at the instances when they are printed, and a few counters.

    An instance has its series as long as it belongs to the service, so there are never more than there are instances.
    """

    __slots__ = ("_metrics", "_roster", "_watched", "counts")

    def __init__(self, metrics: Metrics, roster: Roster) -> None:
        self._roster, self._metrics = roster, metrics
        self._watched: dict[Instance | None, list[Watched]] = {None: []}
        self.counts: dict[str, Series] = {
            name: metrics.counter(f"micro_upstream_{name}_total", text, ("service",)).labels(roster.name)
            for name, text in _COUNTED.items()
        }
        panic = "Whether all instances get traffic because too few are well."
        self._watch(None, metrics.gauge("micro_upstream_panic", panic, ("service",)), lambda: roster.panic)
        states = metrics.gauge("micro_upstream_instances", "Instances by their state.", ("service", "state"))
        for state in STATES:
            self._watch(None, states, partial(self._count, state), state)

    def tell_of(self, slots: Slots) -> None:
        """Tell of those who wait, too."""
        waiting = self._metrics.gauge("micro_upstream_queued", "Requests that wait for a slot.", ("service",))
        self._watch(None, waiting, lambda: len(slots))
        refused = self._metrics.counter(
            "micro_upstream_queue_refused_total", "Requests without a slot.", ("service", "reason")
        )
        refused.labels(self._roster.name, "full").watch(lambda: slots.turned_away)
        refused.labels(self._roster.name, "timeout").watch(lambda: slots.expired)

    def join(self, instance: Instance) -> None:
        """Tell of an instance."""
        self._watched[instance] = []
        for name, text, look in _OF_INSTANCE:
            gauge = self._metrics.gauge(name, text, ("service", "instance"))
            self._watch(instance, gauge, partial(look, instance), instance.name)

    def leave(self, instance: Instance | None) -> None:
        """Tell of it no more."""
        for gauge, values, read in self._watched.pop(instance):
            gauge.forget(*values, read=read)

    def close(self) -> None:
        """Tell nothing more of what is now."""
        for instance in tuple(self._watched):
            self.leave(instance)

    def _watch(
        self, instance: Instance | None, gauge: Gauge, read: Callable[[], float], *labels: str
    ) -> None:
        values = (self._roster.name, *labels)
        gauge.labels(*values).watch(read)
        self._watched[instance].append((gauge, values, read))

    def _count(self, state: str) -> float:
        now = self._roster.clock.monotonic()
        return sum(instance.state(now) == state for instance in self._roster.instances)
