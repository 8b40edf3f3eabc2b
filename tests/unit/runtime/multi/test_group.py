"""The instances of one service: replaced and counted while the others serve."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from micro.errors import MicroError
from micro.runtime.multi.children import CRASH_LOOP

sys.path.append(str(Path(__file__).parent))
from typing import TYPE_CHECKING

from family import Family

if TYPE_CHECKING:
    from micro.runtime.multi.group import Group


@pytest.fixture
def family() -> Family:
    return Family()


async def running(family: Family, count: int) -> Group:
    group = family.group("shop")
    await group.spawn(count)
    await group.begin()
    family.notes.clear()
    return group


def names(group: Group) -> list[str]:
    return [child.name for child in group.children]


async def test_all_are_spawned_before_any_begins(family: Family) -> None:
    group = family.group("shop")
    await group.spawn(2)
    assert group.urls == []
    await group.begin()
    assert family.notes == ["spawn shop-1", "spawn shop-2", "begin shop-1", "begin shop-2"]
    assert group.urls == ["http://shop-1", "http://shop-2"]
    assert group.verdict == "healthy"
    await group.stop()


async def test_a_restart_ends_each_when_its_successor_may_get_traffic_and_it_may_not(family: Family) -> None:
    group = await running(family, 2)
    await group.restart()
    assert family.notes == [
        *(
            "spawn shop-3",
            "begin shop-3",
            "publish shop-1 shop-2 shop-3",
            "publish shop-2 shop-3",
            "stop shop-1",
        ),
        *(
            "spawn shop-1",
            "begin shop-1",
            "publish shop-2 shop-3 shop-1",
            "publish shop-3 shop-1",
            "stop shop-2",
        ),
    ]
    assert names(group) == ["shop-3", "shop-1"]
    await group.stop()


async def test_a_successor_that_does_not_start_ends_the_restart_and_nothing_else(family: Family) -> None:
    group = await running(family, 2)
    family.refusals.add("begin shop-3")
    with pytest.raises(
        MicroError, match="shop-3 did not start, and the others go on as they were: shop-3 won't"
    ):
        await group.restart()
    assert names(group) == ["shop-1", "shop-2"]
    assert group.urls == ["http://shop-1", "http://shop-2"]
    assert "stop shop-1" not in family.notes
    await group.stop()


async def test_scaling_up_takes_the_free_numbers_and_down_the_newest(family: Family) -> None:
    group = await running(family, 1)
    await group.scale(3)
    assert names(group) == ["shop-1", "shop-2", "shop-3"]
    await group.scale(3)
    family.notes.clear()
    await group.scale(1)
    assert family.notes == ["publish shop-1", "stop shop-2", "stop shop-3"]
    await group.scale(2)
    assert names(group) == ["shop-1", "shop-2"]
    await group.stop()


async def test_changes_wait_for_each_other(family: Family) -> None:
    group = await running(family, 1)
    await asyncio.gather(group.restart(), group.scale(2), group.restart())
    assert len(group.children) == 2
    assert all(child.state == "healthy" for child in group.children)
    await group.stop()


async def test_the_verdict_is_the_best_that_is_true_of_an_instance(family: Family) -> None:
    group = await running(family, 2)
    first, second = group.children
    for states, verdict in [
        (("unhealthy", "healthy"), "healthy"),
        (("unhealthy", "starting"), "starting"),
        (("unhealthy", CRASH_LOOP), CRASH_LOOP),
        (("unhealthy", "stopping"), "unhealthy"),
    ]:
        first.state, second.state = states  # type: ignore[misc] # fakes
        assert group.verdict == verdict
    await group.kill()
    assert family.notes == ["kill shop-1", "kill shop-2"]
    await group.kill()
