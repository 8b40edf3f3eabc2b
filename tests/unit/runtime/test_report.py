"""The report of a start survives a pipe, and says what the back ends don't promise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from micro.bus.ports import BusFeatures
from micro.cache.ports import CacheFeatures
from micro.runtime.report import Report, Started, not_guaranteed
from micro.store.ports import StoreFeatures

STORE = StoreFeatures(concurrent_writers=True, survives_power_loss=True, shared_by_processes=True)
BUS = BusFeatures(
    ordered_by_key=True,
    groups=True,
    replays=True,
    survives_restart=True,
    survives_power_loss=True,
    shared_by_processes=True,
    max_bytes=1,
)
CACHE = CacheFeatures(shared_by_processes=True, bounded=True, survives_restart=True)
ONE_PROCESS = "one instance of each service"


def test_it_is_the_same_after_a_pipe() -> None:
    report = Report(
        stack="demo",
        profile="dev",
        pid=7,
        gateway="http://127.0.0.1:8000",
        services=(Started(name="task", url="http://127.0.0.1:8002", health="healthy", seconds=0.1),),
        seconds=0.3,
        reload=True,
        not_guaranteed=("x",),
        warnings=("y",),
    )
    assert Report.from_dict(json.loads(json.dumps(report.as_dict()))) == report


def test_of_full_back_ends_just_the_cache_s_absence_and_the_single_process_are_left_to_say() -> None:
    absence, one = not_guaranteed([STORE], BUS, CACHE)
    assert "out of reach" in absence
    assert one.startswith(ONE_PROCESS)
    assert list(not_guaranteed([STORE], BUS, CACHE, one_process=False)) == [absence]


@pytest.mark.parametrize(
    ("stores", "bus", "cache", "says"),
    [
        ([replace(STORE, survives_power_loss=False)], BUS, CACHE, "power cut"),
        ([], replace(BUS, survives_power_loss=False), CACHE, "power cut"),
        ([], replace(BUS, survives_restart=False), CACHE, "forgotten"),
        ([], BUS, replace(CACHE, shared_by_processes=False), "rate limits"),
    ],
)
def test_each_promise_that_is_missing_is_a_sentence(
    stores: list[StoreFeatures], bus: BusFeatures, cache: CacheFeatures, says: str
) -> None:
    first, *_, last = not_guaranteed(stores, bus, cache)
    assert says in first
    assert last.startswith(ONE_PROCESS)
