"""The instances of one service: which of them gets the next request, and what the ones before have shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.upstream.balance import LeastRequests, RoundRobin, TwoChoices
from micro.gateway.upstream.breaker import CLOSED
from micro.gateway.upstream.chance import Chance
from micro.gateway.upstream.hashing import Rendezvous
from micro.gateway.upstream.instance import NOT_CALM
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.probe import Prober
from micro.gateway.upstream.retry import Budget, is_repeatable, jittered
from micro.gateway.upstream.roster import NEVER, Roster
from micro.gateway.upstream.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from micro.gateway.deadlines import Wheel
    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.balance import Balance
    from micro.gateway.upstream.instance import Instance
    from micro.spec.upstream import UpstreamSpec
    from micro.telemetry.metrics import Metrics


class Cluster(Roster):
    """Decides about the requests to a service; opens no connection itself. For one event loop.

    `announce(service, instance, state)` is told of changes: `healthy`, `unhealthy`, `ejected`, `returned`, `opened` and
    `closed` (the breaker); and without an instance, `panic` and `calm`.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        spec: UpstreamSpec,
        wheel: Wheel,
        metrics: Metrics | None = None,
        announce: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self.retry_statuses = frozenset(spec.retry.statuses)
        """Answers that count as failed tries."""
        self._all = max(1, spec.max_requests)
        self.slots = Slots(self._all, queue=spec.queue, timeout=spec.queue_timeout, wheel=wheel)
        """One is taken by each request before it is given an instance, and kept over all its tries."""
        self._chance = Chance(wheel.clock)
        self._balance = _balance(spec, self._chance)
        self._budget = Budget(spec.retry.budget)
        self._most = max(1, spec.max_connections)
        self._only: Instance | None = None
        """The one that is ready, where there is no choice."""
        self._heaviest = 1.0
        self._choose: Callable[[Exchange], Instance] = self._balance.pick
        super().__init__(name, urls, spec=spec, wheel=wheel, metrics=metrics, announce=announce)
        self.meters.tell_of(self.slots)

    def pick(self, exchange: Exchange, tried: Sequence[Instance] = ()) -> Instance:
        """The instance to send to; none of `tried` where there is another. Call `began` at once.

        Raises `UpstreamError`: `destination_unavailable` where no instance may get traffic, `connection_limit_reached`
        where all that may are at `max_connections`.
        """
        if self.due != NEVER and self.clock.monotonic() >= self.due:
            self.refresh()
        if self.ready and not tried:
            instance = self._only or self._choose(exchange)
            if instance.active < self._most:
                return instance
        return self._other(exchange, tried)

    def began(self, instance: Instance) -> None:
        """A request goes there."""
        instance.active += 1
        if instance.breaker.state != CLOSED:
            instance.breaker.tried(self.clock.monotonic())
            self.refresh()

    def ended(self, instance: Instance, failed: bool | None, seconds: float) -> None:  # noqa: FBT001 # agreed order
        """A request that began `seconds` ago has ended: `failed` is `None` where that says nothing of the instance.

        It failed where no usable answer came (502, 503, 504, broken off), not where an application answered 500.
        """
        instance.active -= 1
        now = self.clock.monotonic()
        self._budget.count(now)
        if instance.breaker.ended(now, now - seconds, failed=failed):
            self.turned(instance, now)
        if failed:
            self.failed(instance, now)
        elif failed is not None:
            instance.failures = 0
        if instance.gone:
            self.part(instance)
        calm = instance.breaker.state == CLOSED and not instance.gone
        instance.calm_until = (
            min(self._budget.window.turn, instance.breaker.window.turn) if calm else NOT_CALM
        )

    def served(self, instance: Instance, now: float, began: float) -> None:
        """A request that began at `began` has ended well, and gives its slot back: `ended` and `Slots.leave` in one step."""
        if now < instance.calm_until:  # most of the time there is nothing to do but to count
            instance.active -= 1
            instance.failures = 0
            instance.breaker.window.requests += 1
            self._budget.window.requests += 1
        else:
            self.ended(instance, False, now - began)
        slots = self.slots
        slots.active -= 1
        if slots.waiting:
            slots.admit()

    def may_resend(self, exchange: Exchange, *, sent: bool, at_hand: bool) -> bool:
        """Whether a request whose try has failed is sent again: by its tries so far, by its kind, by the budget.

        `sent`: a byte of it may have reached an instance. `at_hand`: what came of its body is still there.
        """
        return (
            exchange.tries < self.spec.retry.attempts
            and is_repeatable(exchange.method, sent=sent, at_hand=at_hand)
            and self.may_retry()
        )

    def may_retry(self) -> bool:
        """Take a retry out of the budget, if there is one."""
        granted = self._budget.draw(self.clock.monotonic())
        self.meters.counts["retries" if granted else "retries_denied"].inc()
        return granted

    def retry_wait(self, tries: int) -> float:
        """Seconds to wait before a request that was sent `tries` times is sent again."""
        return jittered(self.spec.retry, tries, self.clock)

    async def run(self, probe: Callable[[Instance], Awaitable[bool]]) -> None:
        """Probe the instances in the background. Never returns; when cancelled, leaves no task behind."""
        self.probed = True
        try:
            await Prober(self, probe).run()
        finally:
            self.probed = False

    def close(self) -> None:
        """Refuse who waits for a slot, and take the service's gauges out of the metrics."""
        self.slots.close()
        self.meters.close()

    def refresh(self) -> None:
        """See `Roster.refresh`."""
        before, ramped = self.ready, self.ramping
        super().refresh()
        ready = self.ready
        self._only = ready[0] if len(ready) == 1 else None
        self._heaviest = max((instance.weight for instance in ready), default=1.0)
        if ready and (ready != before or self.ramping or ramped):
            self._balance.use(ready)
        declining = self.ramping and not isinstance(
            self._balance, Rendezvous
        )  # which looks at weights itself
        self._choose = self._ramped if declining else self._balance.pick
        # As many as there are connections for: so requests wait in one queue, and none of them for a connection.
        self.slots.resize(min(self._all, self._most * max(1, len(ready))))

    def _other(self, exchange: Exchange, tried: Sequence[Instance]) -> Instance:
        """Not the first choice: that was tried, is full or still starts."""
        if not self.ready:
            raise UpstreamError("destination_unavailable", f"no instance of {self.name} may get traffic")
        free = [instance for instance in self.ready if instance.active < self._most]
        if not free:
            raise UpstreamError(
                "connection_limit_reached", f"every instance of {self.name} has {self._most} requests"
            )
        fresh = [instance for instance in free if instance not in tried]
        return self._balance.among(exchange, fresh or free)

    def _ramped(self, exchange: Exchange) -> Instance:
        """An instance in slow start declines what is beyond its weight: the others share that."""
        instance = self._balance.pick(exchange)
        if instance.weight < self._heaviest * (1.0 - self._chance.fraction()):
            return self._balance.among(exchange, [one for one in self.ready if one.weight == self._heaviest])
        return instance


def _balance(spec: UpstreamSpec, chance: Chance) -> Balance:
    if spec.balance == "hash":
        return Rendezvous(spec.hash_by)
    kinds: dict[str, Callable[[Chance], Balance]] = {
        "round_robin": RoundRobin,
        "least_requests": LeastRequests,
        "two_choices": TwoChoices,
    }
    return kinds[spec.balance](chance)
