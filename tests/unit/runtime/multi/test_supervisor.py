"""Groups start in the order of what depends on what, end in the reverse, and know of each other."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from micro.clock import SystemClock
from micro.errors import CallError, MicroError, NotFound, UsageError
from micro.runtime.multi.supervisor import Supervisor
from micro.testing import FakeClock

sys.path.append(str(Path(__file__).parent))
from family import Family

AFTER = {"shop": (), "cart": ("shop", "elsewhere"), "stock": (), "gateway": ("shop", "cart", "stock")}


def supervisor(family: Family) -> Supervisor:
    return Supervisor(
        {name: family.group(name) for name in AFTER},
        after=AFTER,
        fixed={"elsewhere": ["http://far"]},
        clock=FakeClock(),
    )


@pytest.fixture
def family() -> Family:
    return Family()


@pytest.fixture
async def started(family: Family) -> Any:
    made = supervisor(family)
    await made.spawn({"shop": 2})
    await made.begin()
    yield made
    await made.kill()


def order(family: Family, *notes: str) -> None:
    places = [family.notes.index(note) for note in notes]
    assert places == sorted(places), family.notes


async def test_each_begins_after_what_it_depends_on_and_the_gateway_last(
    family: Family, started: Supervisor
) -> None:
    order(family, "spawn gateway-1", "begin shop-1", "begin cart-1", "begin gateway-1")
    order(family, "begin shop-2", "begin cart-1")
    order(family, "begin stock-1", "begin gateway-1")
    assert started.peers() == {
        "elsewhere": ["http://far"],
        "shop": ["http://shop-1", "http://shop-2"],
        "cart": ["http://cart-1"],
        "stock": ["http://stock-1"],
        "gateway": ["http://gateway-1"],
    }
    assert started.facts["shop"] == {"port": 1}


async def test_all_connect_to_their_servers_before_the_first_starts(family: Family) -> None:
    made = supervisor(family)
    await made.spawn({})
    await made.open()
    await made.begin()
    notes = family.notes
    last = max(at for at, note in enumerate(notes) if note.startswith("open"))
    first = min(at for at, note in enumerate(notes) if note.startswith("begin"))
    assert max(at for at, note in enumerate(notes) if note.startswith("spawn")) < last < first
    await made.kill()


async def test_a_stack_that_stops_begins_no_restart_any_more(family: Family, started: Supervisor) -> None:
    await started.drain()
    family.notes.clear()
    with pytest.raises(MicroError, match="the stack stops"):
        await started.scale("shop", 5)
    assert family.notes == []


async def test_they_end_in_the_reverse_order(family: Family, started: Supervisor) -> None:
    await started.drain()
    order(family, "stop gateway-1", "stop cart-1", "stop shop-1")
    order(family, "stop gateway-1", "stop stock-1")


@pytest.mark.parametrize("refusal", ["spawn cart-1", "begin cart-1"])
async def test_the_first_refusal_ends_the_start(family: Family, refusal: str) -> None:
    family.refusals.add(refusal)
    made = supervisor(family)
    with pytest.raises(MicroError, match="cart-1 won't"):
        await made.spawn({})
        await made.begin()
    assert "begin gateway-1" not in family.notes
    await made.kill()


async def test_every_child_that_listens_is_told_who_may_get_traffic(started: Supervisor) -> None:
    working = asyncio.create_task(started.run())
    started.children[0].withdrawn = True
    started.changed()
    while not started.children[-1].asked:  # type: ignore[attr-defined] # a fake
        await SystemClock().sleep(0)
    for child in started.children:
        ((verb, args),) = child.asked  # type: ignore[attr-defined] # a fake
        assert verb == "peers"
        assert args["services"]["shop"] == ["http://shop-2"]
    working.cancel()


async def test_one_that_does_not_take_it_is_said_aloud_unless_it_has_ended(
    started: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    stuck: Any = started.children[0]
    stuck.answers["peers"] = CallError("no answer within 5 s")
    await started.publish()
    assert "shop-1 was not told who may get traffic: no answer" in caplog.text
    caplog.clear()

    async def ends(verb: str, **args: Any) -> dict[str, Any]:
        stuck.port = None
        raise CallError("the process is gone")

    stuck.ask = ends
    await started.publish()
    assert caplog.text == ""


async def test_restart_and_scale_answer_with_the_names_of_those_that_run(started: Supervisor) -> None:
    assert await started.scale("cart", 2) == ["cart-1", "cart-2"]
    assert await started.restart("cart") == ["cart-3", "cart-1"]


@pytest.mark.parametrize("count", [0, 65, -1])
async def test_a_number_that_makes_no_sense_is_refused(started: Supervisor, count: int) -> None:
    with pytest.raises(UsageError, match=rf"cart={count}: give a number from 1 to 64"):
        await started.scale("cart", count)


async def test_a_service_that_is_not_there_or_not_ours_is_refused(started: Supervisor) -> None:
    with pytest.raises(NotFound, match=r"there is no service 'shp'; did you mean 'shop'\?"):
        await started.restart("shp")
    with pytest.raises(UsageError, match="elsewhere is not run by micro"):
        await started.scale("elsewhere", 2)


async def test_a_restart_goes_on_when_whoever_asked_for_it_goes_away(
    family: Family, started: Supervisor
) -> None:
    asked = asyncio.create_task(started.restart("shop"))
    while "spawn shop-3" not in family.notes:
        await SystemClock().sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    while "stop shop-2" not in family.notes:
        await SystemClock().sleep(0)


async def test_a_stack_that_stops_ends_a_restart_and_says_so(family: Family, started: Supervisor) -> None:
    started.groups["shop"]._publish = asyncio.Event().wait  # type: ignore[assignment] # nobody answers
    asked = asyncio.create_task(started.restart("shop"))
    while "begin shop-3" not in family.notes:
        await SystemClock().sleep(0)
    await started.kill()
    with pytest.raises(MicroError, match="the stack stops"):
        await asked
    assert "kill shop-3" in family.notes
