"""A process is entered in the discovery while it serves, and follows the instances of others; what was said last holds."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from micro.discovery.ports import Place, Places
from micro.errors import DiscoveryUnavailable
from micro.runtime.parts.registration import LOOK, PATIENCE, RENEW, Registration
from micro.testing import FakeClock

OWN = Place("task", "task-1", "http://10.0.0.1:9000", "here/one")
FAR = Place("task", "task-1", "http://10.0.0.2:9000", "there/two")
OTHER = Place("user", "user-1", "http://10.0.0.2:9001", "there/two")


class Listed:
    """A discovery that a test writes."""

    def __init__(self) -> None:
        self.here: list[Place] = []
        self.left: list[Place] = []
        self.registered: list[Place] = []
        self.withdrawn: list[Place] = []
        self.away = False
        self.open_now = False

    async def open(self) -> None:
        self.open_now = True

    async def close(self) -> None:
        self.open_now = False

    async def register(self, place: Place) -> None:
        self._check()
        self.registered.append(place)

    async def withdraw(self, place: Place) -> None:
        self._check()
        self.withdrawn.append(place)

    async def places(self) -> Places:
        self._check()
        return Places([*self.here], [*self.left])

    def _check(self) -> None:
        if self.away:
            raise DiscoveryUnavailable("nobody answers")


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.listed = Listed()
        self.found: list[dict[str, list[str]]] = []
        self.registration = Registration(
            self.listed,  # type: ignore[arg-type] # without features
            own=OWN,
            clock=self.clock,
            found=self.found.append,
        )

    async def look(self, *here: Place, left: tuple[Place, ...] = (), after: float = 0.0) -> Any:
        """What it has last told, when the list says so."""
        await self.clock.advance(after)
        self.listed.here, self.listed.left = list(here), list(left)
        await self.registration.look()
        return self.found[-1] if self.found else None


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_others_instances_are_told_by_service_and_only_when_something_changes(bench: Bench) -> None:
    assert await bench.look(FAR, OTHER) == {"task": [FAR.url], "user": [OTHER.url]}
    await bench.look(FAR, OTHER)
    assert len(bench.found) == 1


async def test_instances_of_the_own_supervisor_are_not_told(bench: Bench) -> None:
    """It says itself who may get traffic, and to the moment."""
    assert await bench.look(OWN, OWN._replace(service="user", instance="user-1")) is None


async def test_who_listens_on_loopback_is_told_to_the_same_machine_only(bench: Bench) -> None:
    near = FAR._replace(url="http://127.0.0.1:9", origin="here/three")
    far = FAR._replace(url="http://127.0.0.1:9")
    named = FAR._replace(url="http://localhost:9", instance="task-2")
    assert await bench.look(far, named) is None
    assert await bench.look(near, far, named) == {"task": [near.url]}


async def test_the_entry_is_made_at_once_and_renewed_in_time(bench: Bench) -> None:
    running = asyncio.create_task(bench.registration.run())
    for _ in range(7):
        await bench.clock.advance(LOOK)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bench.listed.registered == [OWN] * (1 + int(7 * LOOK / RENEW))


async def test_what_was_known_holds_while_the_list_is_away_and_that_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await bench.look(FAR)
    bench.listed.away = True
    for _ in range(5):
        assert await bench.look(after=PATIENCE) == {"task": [FAR.url]}
    bench.listed.away = False
    assert await bench.look() == {"task": [FAR.url]}, (
        "the list starts anew, and they will be there in a moment"
    )
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "instances on other machines stay as they were: nobody answers",
        "the discovery is back",
    ]


async def test_one_that_is_missing_stays_for_a_while(bench: Bench) -> None:
    await bench.look(FAR)
    assert await bench.look() == {"task": [FAR.url]}
    assert await bench.look(after=PATIENCE - 0.1) == {"task": [FAR.url]}
    assert await bench.look(FAR, after=0.1) == {"task": [FAR.url]}
    assert await bench.look(after=PATIENCE) == {"task": [FAR.url]}, "it was seen again meanwhile"
    assert await bench.look(after=PATIENCE) == {}


async def test_one_that_has_said_goodbye_is_gone_at_once(bench: Bench) -> None:
    await bench.look(FAR, OTHER)
    assert await bench.look(OTHER, left=(FAR,)) == {"user": [OTHER.url]}


async def test_one_that_came_back_elsewhere_is_there_only(bench: Bench) -> None:
    moved = FAR._replace(url="http://10.0.0.3:1")
    await bench.look(FAR)
    assert await bench.look(moved) == {"task": [moved.url]}


async def test_withdrawing_waits_until_the_others_have_seen_it(bench: Bench) -> None:
    await bench.look(FAR)
    leaving = asyncio.create_task(bench.registration.withdraw())
    await bench.clock.advance(LOOK / 2)
    assert bench.listed.withdrawn == [OWN]
    assert not leaving.done()
    await bench.clock.advance(LOOK)
    await leaving
    bench.listed.registered.clear()
    await bench.look(FAR, after=RENEW)
    assert bench.listed.registered == [], "it isn't entered again"


async def test_where_nobody_else_is_nobody_waits(bench: Bench) -> None:
    await bench.look()
    await asyncio.wait_for(bench.registration.withdraw(), 60)
    assert bench.listed.withdrawn == [OWN]


async def test_a_list_that_is_away_at_the_end_keeps_nobody_from_ending(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.look(FAR)
    bench.listed.away = True
    await asyncio.wait_for(bench.registration.withdraw(), 60)
    assert "runs out by itself" in caplog.text


async def test_the_list_is_opened_and_let_go(bench: Bench) -> None:
    await bench.registration.open()
    assert bench.listed.open_now
    await bench.registration.close()
    assert not bench.listed.open_now
