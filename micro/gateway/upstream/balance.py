"""Which of the instances that may get a request gets it."""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.upstream.chance import Chance
    from micro.gateway.upstream.instance import Instance

_ACTIVE = attrgetter("active")


class Balance(Protocol):
    """One way to choose. Told of the instances when they change, so that a choice costs little."""

    def use(self, instances: Sequence[Instance]) -> None:
        """Choose from these from now on. At least one."""
        ...

    def pick(self, exchange: Exchange) -> Instance:
        """One of the instances in use."""
        ...

    def among(self, exchange: Exchange, some: Sequence[Instance]) -> Instance:
        """One of `some` of the instances in use, where the others are out of the question this time."""
        ...


class RoundRobin:
    """One after the other."""

    __slots__ = ("_extra", "_instances", "_turn")

    def __init__(self, chance: Chance) -> None:
        self._instances: Sequence[Instance] = ()
        # Not 0, or the gateways that start together would all begin with the same instance.
        self._turn = self._extra = chance.bits()

    def use(self, instances: Sequence[Instance]) -> None:
        """See `Balance.use`."""
        self._instances = instances

    def pick(self, exchange: Exchange) -> Instance:
        """See `Balance.pick`."""
        self._turn = turn = self._turn + 1
        instances = self._instances
        return instances[turn % len(instances)]

    def among(self, exchange: Exchange, some: Sequence[Instance]) -> Instance:
        """See `Balance.among`. Nobody's regular turn is spent on it."""
        self._extra = turn = self._extra + 1
        return some[turn % len(some)]


class LeastRequests:
    """The one with the fewest requests in flight; of several, one after the other. Costs more the more there are."""

    __slots__ = ("_extra", "_instances")

    def __init__(self, chance: Chance) -> None:
        self._instances: deque[Instance] = deque()
        self._extra = chance.bits()

    def use(self, instances: Sequence[Instance]) -> None:
        """See `Balance.use`."""
        self._instances = deque(instances)

    def pick(self, exchange: Exchange) -> Instance:
        """See `Balance.pick`."""
        instances = self._instances
        instances.rotate(-1)
        return min(instances, key=_ACTIVE)

    def among(self, exchange: Exchange, some: Sequence[Instance]) -> Instance:
        """See `Balance.among`."""
        self._extra += 1
        start = self._extra % len(some)
        return min((*some[start:], *some[:start]), key=_ACTIVE)


class TwoChoices:
    """The one with fewer requests in flight of two that chance names: nearly as even as the least of all, at a cost
    that does not grow (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001)."""

    __slots__ = ("_chance", "_instances")

    def __init__(self, chance: Chance) -> None:
        self._instances: Sequence[Instance] = ()
        self._chance = chance

    def use(self, instances: Sequence[Instance]) -> None:
        """See `Balance.use`."""
        self._instances = instances

    def pick(self, exchange: Exchange) -> Instance:
        """See `Balance.pick`."""
        return self.among(exchange, self._instances)

    def among(self, exchange: Exchange, some: Sequence[Instance]) -> Instance:
        """See `Balance.among`."""
        size = len(some)
        if size == 1:
            return some[0]
        bits = self._chance.bits()
        one = (bits & 0xFFFF) % size
        other = (one + 1 + (bits >> 16) % (size - 1)) % size
        first, second = some[one], some[other]
        return first if first.active <= second.active else second
