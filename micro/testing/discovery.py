"""The contract suite of the discovery port. Every backend passes it: subclass, name the backend, run pytest.

    class TestMyDiscovery(DiscoveryContract):
        @pytest.fixture
        def make(self, clock):
            return lambda: MyDiscovery("mydiscovery:", clock=clock)

A backend whose time is not a `Clock`'s (a server) overrides `clock` with a `SystemClock`, and `lease` with what its `make`
gives for a lease; the suite then really waits. Needs pytest-asyncio in its ``auto`` mode. What a backend doesn't promise
in its features is skipped by name.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest

from micro.clock import SystemClock
from micro.discovery.ports import LEASE, Place
from micro.ids import new_id
from micro.testing.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from micro.clock import Clock
    from micro.discovery.ports import Discovery


class DiscoveryContract:
    """What `micro.discovery.ports.Discovery` promises."""

    lease: ClassVar[float] = LEASE
    """Seconds for which the backend that `make` gives keeps an entry."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock that the backend goes by."""
        return FakeClock()

    @pytest.fixture
    def make(self) -> Callable[[], Discovery]:
        """Constructs a backend, without opening it; every time on the same list where that is shared."""
        raise NotImplementedError("give a fixture named make")

    @pytest.fixture
    async def discovery(self, make: Callable[[], Discovery]) -> AsyncIterator[Discovery]:
        """An open backend."""
        discovery = make()
        await discovery.open()
        yield discovery
        await discovery.close()

    @pytest.fixture
    def place(self) -> Place:
        """An instance of a service that no other test uses."""
        name = f"service-{new_id(SystemClock())}"
        return Place(name, f"{name}-1", "http://10.0.0.5:9000", "host/origin")

    async def elapse(self, clock: Clock, leases: float) -> None:
        """Let so many leases pass."""
        await (clock.advance if isinstance(clock, FakeClock) else clock.sleep)(leases * self.lease)

    async def test_an_instance_that_is_registered_is_among_the_places(
        self, discovery: Discovery, place: Place
    ) -> None:
        assert await self.here(discovery, place) == []
        await discovery.register(place)
        assert await self.here(discovery, place) == [place]

    async def test_registering_again_makes_no_second_entry(self, discovery: Discovery, place: Place) -> None:
        await asyncio.gather(*(discovery.register(place) for _ in range(5)))
        assert await self.here(discovery, place) == [place]

    async def test_instances_do_not_disturb_each_other(self, discovery: Discovery, place: Place) -> None:
        others = [
            place,
            place._replace(instance=f"{place.service}-2"),
            place._replace(origin="other/origin"),
            place._replace(instance="ä 🔑", url="https://[2001:db8::1]:9000/base"),
        ]
        for each in others:
            await discovery.register(each)
        assert sorted(await self.here(discovery, place)) == sorted(others)
        await discovery.withdraw(others[1])
        assert sorted(await self.here(discovery, place)) == sorted([others[0], *others[2:]])

    async def test_an_instance_that_comes_back_elsewhere_is_there_only(
        self, discovery: Discovery, place: Place
    ) -> None:
        moved = place._replace(url="http://10.0.0.6:9001")
        await discovery.register(place)
        await self.elapse_a_little(discovery)
        await discovery.register(moved)
        assert await self.here(discovery, place) == [moved]

    async def test_one_that_is_withdrawn_is_gone_and_said_to_have_left(
        self, discovery: Discovery, place: Place
    ) -> None:
        await discovery.register(place)
        await discovery.withdraw(place)
        assert await self.here(discovery, place) == []
        if discovery.features.shared_by_processes:
            assert place in (await discovery.places()).left

    async def test_withdrawing_what_is_not_there_is_no_error(
        self, discovery: Discovery, place: Place
    ) -> None:
        await discovery.withdraw(place)
        assert await self.here(discovery, place) == []

    async def test_one_that_comes_back_has_not_left(self, discovery: Discovery, place: Place) -> None:
        await discovery.register(place)
        await discovery.withdraw(place)
        await discovery.register(place)
        places = await discovery.places()
        assert place in places.here
        assert place not in places.left

    async def test_a_lease_that_is_not_renewed_runs_out(
        self, discovery: Discovery, place: Place, clock: Clock
    ) -> None:
        if not discovery.features.leases:
            pytest.skip("not promised: leases")
        stays = place._replace(instance="stays")
        await discovery.register(place)
        await discovery.register(stays)
        await self.elapse(clock, 0.6)
        await discovery.register(stays)
        await self.elapse(clock, 0.6)
        assert await self.here(discovery, place) == [stays]
        assert place not in (await discovery.places()).left, "it has not said so"

    async def test_processes_share_the_list(self, make: Callable[[], Discovery], place: Place) -> None:
        one, other = make(), make()
        if not one.features.shared_by_processes:
            pytest.skip("not promised: shared by processes")
        for each in (one, other):
            await each.open()
        await one.register(place)
        assert await self.here(other, place) == [place]
        await other.withdraw(place)
        assert await self.here(one, place) == []
        for each in (one, other):
            await each.close()

    async def test_closing_twice_and_without_opening_is_no_error(self, make: Callable[[], Discovery]) -> None:
        discovery = make()
        await discovery.close()
        await discovery.open()
        await discovery.close()
        await discovery.close()

    async def here(self, discovery: Discovery, place: Place) -> list[Place]:
        """The entries of the test's own service."""
        found: Iterable[Place] = (await discovery.places()).here
        return [each for each in found if each.service == place.service]

    async def elapse_a_little(self, discovery: Discovery) -> None:
        """Let what a server's clock counts in go on, so that of two entries it knows the later one."""
        if discovery.features.leases:
            await SystemClock().sleep(0.005)
