"""Who may get traffic, and what is told of it."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micro.gateway.deadlines import Wheel
from micro.gateway.upstream.cluster import Cluster
from micro.gateway.upstream.instance import STEPS
from micro.gateway.upstream.ports import UpstreamError
from micro.spec.upstream import BreakerSpec, EjectionSpec, ProbeSpec, UpstreamSpec
from micro.testing import FakeClock

QUICK = ProbeSpec(unhealthy_after=1, healthy_after=1)
NO_BREAKER = BreakerSpec(failure_rate=0)


def fail(cluster, instance, times=5):
    for _ in range(times):
        cluster.began(instance)
        cluster.ended(instance, True, 0.01)


def ill(cluster, *numbers):
    for number in numbers:
        cluster.observed(cluster.instances[number], "")
        cluster.observed(cluster.instances[number], "refused")


def test_all_are_ready_at_first(cluster_of):
    cluster = cluster_of(3)
    assert cluster.ready == cluster.instances
    assert [row["state"] for row in cluster.states()] == ["healthy"] * 3
    assert [row["weight"] for row in cluster.states()] == [1.0] * 3


def test_an_address_that_is_named_twice_is_one_instance(cluster_of):
    assert len(cluster_of(["http://10.0.0.1:80", "http://10.0.0.1:80"]).instances) == 1


def test_who_is_unhealthy_gets_nothing(cluster_of):
    cluster = cluster_of(4, probe=QUICK)
    ill(cluster, 1, 2)
    assert cluster.ready == (cluster.instances[0], cluster.instances[3])
    assert not cluster.panic


def test_where_fewer_than_so_many_are_fit_all_get_traffic_and_everybody_is_told(cluster_of, told):
    cluster = cluster_of(4, probe=QUICK, panic_below=50)
    ill(cluster, 0, 1, 2)
    assert cluster.panic
    assert cluster.ready == cluster.instances
    assert all(row["panic"] for row in cluster.states())
    assert [(row["state"], row["weight"]) for row in cluster.states()] == [("unhealthy", 1.0)] * 3 + [
        ("healthy", 1.0)
    ]
    cluster.observed(cluster.instances[0], "")
    assert not cluster.panic
    assert told.about("") == ["panic", "calm"]


def test_without_panic_mode_nobody_gets_traffic_where_nobody_is_fit(cluster_of):
    cluster = cluster_of(2, probe=QUICK, panic_below=0)
    ill(cluster, 0, 1)
    assert not cluster.panic
    assert cluster.ready == ()
    assert [row["weight"] for row in cluster.states()] == [0.0, 0.0]


def test_who_fails_real_requests_is_set_aside_and_comes_back(cluster_of, clock, told):
    cluster = cluster_of(2, breaker=NO_BREAKER)
    bad, good = cluster.instances
    fail(cluster, bad)
    assert cluster.ready == (good,)
    assert cluster.states()[0]["state"] == "ejected"
    clock._elapsed += 10_000_000_000
    cluster.refresh()
    assert cluster.ready == (bad, good)
    assert told.about(bad.name) == ["ejected", "returned"]


async def test_time_alone_brings_back_who_was_set_aside(cluster_of, clock, exchange):
    cluster = cluster_of(2, breaker=NO_BREAKER)
    bad, good = cluster.instances
    fail(cluster, bad)
    assert {cluster.pick(exchange) for _ in range(4)} == {good}
    await clock.advance(9.9)
    assert {cluster.pick(exchange) for _ in range(4)} == {good}
    await clock.advance(0.1)
    assert {cluster.pick(exchange) for _ in range(4)} == {bad, good}


async def test_slow_start_grows_in_steps_and_is_told_in_the_states(cluster_of, clock):
    cluster = cluster_of(1, slow_start=10.0)
    cluster.update(["http://10.0.0.1:9000", "http://10.0.0.2:9000"])
    seen = []
    for _ in range(STEPS + 1):
        row = cluster.states()[1]
        seen.append((row["state"], row["weight"]))
        await clock.advance(10.0 / STEPS)
        if clock.monotonic() >= cluster.due:
            cluster.refresh()
    assert seen[0] == ("starting", 0.05)
    assert seen[10] == ("starting", 0.5)
    assert seen[-1] == ("healthy", 1.0)
    assert cluster.due == float("inf")


def test_instances_from_the_beginning_do_not_start_slowly(cluster_of):
    assert not cluster_of(3, slow_start=10.0).ramping


@pytest.mark.parametrize("how", ["probe", "ejection", "breaker"])
async def test_who_is_well_again_starts_slowly(cluster_of, clock, exchange, how):
    breaker = BreakerSpec(requests=5, open=5.0) if how == "breaker" else NO_BREAKER
    ejection = EjectionSpec(failures=5 if how == "ejection" else 0)
    cluster = cluster_of(2, slow_start=10.0, probe=QUICK, breaker=breaker, ejection=ejection)
    instance = cluster.instances[0]
    if how == "probe":
        ill(cluster, 0)
        cluster.observed(instance, "")
    else:
        fail(cluster, instance)
        await clock.advance(10)
        cluster.refresh()
        cluster.began(instance)
        cluster.ended(instance, False, 0.0)
    assert instance.weight < 0.1
    assert cluster.ramping


def test_a_breaker_that_opens_takes_the_traffic_from_its_instance_alone(cluster_of, told):
    cluster = cluster_of(2, ejection=EjectionSpec(failures=0), breaker=BreakerSpec(requests=5))
    bad, good = cluster.instances
    fail(cluster, bad)
    assert cluster.ready == (good,)
    assert cluster.states()[0]["state"] == "open"
    assert told.about(bad.name) == ["opened"]


def test_an_open_breaker_is_no_reason_to_panic_and_panic_none_to_pass_it(cluster_of):
    cluster = cluster_of(2, probe=QUICK, ejection=EjectionSpec(failures=0), breaker=BreakerSpec(requests=5))
    one, other = cluster.instances
    fail(cluster, one)
    fail(cluster, other)
    assert cluster.ready == ()
    assert not cluster.panic
    ill(cluster, 0, 1)
    assert cluster.panic
    assert cluster.ready == ()


async def test_half_open_lets_one_request_through_at_a_time(cluster_of, clock, exchange, told):
    cluster = cluster_of(1, ejection=EjectionSpec(failures=0), breaker=BreakerSpec(requests=5, open=5.0))
    (instance,) = cluster.instances
    fail(cluster, instance)
    await clock.advance(5)
    assert cluster.states()[0]["state"] == "half-open"
    assert cluster.pick(exchange) is instance
    cluster.began(instance)
    assert cluster.ready == ()
    assert cluster.states()[0]["state"] == "half-open"
    cluster.ended(instance, None, 0.0)
    assert cluster.ready == (instance,)
    cluster.began(instance)
    cluster.ended(instance, False, 0.0)
    assert cluster.states()[0]["state"] == "healthy"
    assert told.about(instance.name) == ["opened", "closed"]


def test_new_instances_start_slowly_and_those_that_stay_keep_what_is_known(cluster_of):
    cluster = cluster_of(2, slow_start=10.0)
    kept = cluster.instances[1]
    kept.failures = 3
    cluster.update(["http://10.0.0.9:9000", "http://10.0.0.2:9000", "http://10.0.0.9:9000"])
    assert cluster.instances[0] is kept
    assert [instance.name for instance in cluster.instances] == ["10.0.0.2:9000", "10.0.0.9:9000"]
    assert kept.failures == 3
    assert cluster.instances[1].weight == 0.05


def test_an_update_that_changes_nothing_wakes_nobody(cluster_of):
    cluster = cluster_of(2)
    cluster.news.clear()
    cluster.update([instance.url for instance in cluster.instances])
    assert not cluster.news.is_set()
    cluster.update([])
    assert cluster.news.is_set()
    assert cluster.ready == ()
    assert cluster.verdict == "unhealthy"


def test_who_leaves_finishes_its_requests_and_then_is_gone(cluster_of):
    cluster, gone = cluster_of(2), []
    cluster.on_gone = gone.append
    busy, idle = cluster.instances
    cluster.began(busy)
    cluster.update([])
    assert gone == [idle]
    assert busy.gone
    cluster.ended(busy, False, 1.0)
    assert gone == [idle, busy]


def test_nothing_more_is_told_of_who_has_left(cluster_of, told):
    cluster = cluster_of(2, breaker=BreakerSpec(requests=5))
    gone = cluster.instances[0]
    for _ in range(10):
        cluster.began(gone)
    cluster.update([cluster.instances[1].url])
    for _ in range(10):
        cluster.ended(gone, True, 0.1)
    assert gone.active == 0
    assert told == []


def test_nobody_has_to_be_told_that_it_is_gone(cluster_of):
    cluster = cluster_of(1)
    cluster.update([])
    assert cluster.instances == ()


def test_the_log_says_what_changed_and_why(cluster_of, caplog):
    cluster = cluster_of(2, probe=QUICK)
    with caplog.at_level(logging.DEBUG, "micro.gateway.upstream"):
        ill(cluster, 0)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "shop 10.0.0.1:9000: healthy"),
        ("WARNING", "shop 10.0.0.1:9000: unhealthy (refused)"),
    ]


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([], "unhealthy"),
        (["starting", "starting"], "starting"),
        (["starting", "unhealthy"], "starting"),
        (["unhealthy", "unhealthy"], "unhealthy"),
        (["unhealthy", "healthy", "starting"], "healthy"),
    ],
)
def test_the_service_is_as_well_as_its_best_instance(cluster_of, verdicts, said):
    cluster = cluster_of(len(verdicts))
    for instance, verdict in zip(cluster.instances, verdicts, strict=True):
        instance.verdict = verdict
    assert cluster.verdict == said


async def test_states_are_of_now_though_no_request_came_for_long(cluster_of, clock):
    cluster = cluster_of(2, breaker=NO_BREAKER, slow_start=5.0)
    fail(cluster, cluster.instances[0])
    await clock.advance(10)
    assert cluster.states()[0]["state"] == "starting"
    await clock.advance(5)
    assert cluster.states()[0]["state"] == "healthy"


async def test_a_probe_sees_to_what_time_has_changed(cluster_of, clock, told):
    cluster = cluster_of(2, breaker=NO_BREAKER)
    one, other = cluster.instances
    cluster.observed(other, "")
    fail(cluster, one)
    await clock.advance(10)
    cluster.observed(other, "")
    assert cluster.ready == (one, other)
    assert told.about(one.name) == ["ejected", "returned"]


def test_at_the_start_nobody_is_alarmed_that_nobody_is_well_yet(cluster_of, told):
    cluster = cluster_of(1)
    cluster.observed(cluster.instances[0], "refused")
    assert cluster.panic
    assert told == []
    cluster.observed(cluster.instances[0], "")
    assert not cluster.panic
    assert told.about("") == []


def test_who_is_told_and_fails_does_not_make_requests_fail(still, caplog):
    def broken(*what):
        raise KeyError(what)

    spec = UpstreamSpec(breaker=NO_BREAKER)
    cluster = Cluster("shop", ["http://10.0.0.1:80"], spec=spec, wheel=still, announce=broken)
    fail(cluster, cluster.instances[0])
    assert cluster.instances[0].ejected
    assert "shop: ejected could not be announced" in caplog.text


STEP = st.one_of(
    st.tuples(st.just("probe"), st.integers(0, 4), st.booleans()),
    st.tuples(st.just("request"), st.integers(0, 9), st.sampled_from([True, False, None])),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 5.0, 12.0]), st.none()),
    st.tuples(st.just("update"), st.sets(st.integers(1, 6), max_size=5), st.none()),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    balance=st.sampled_from(["round_robin", "least_requests", "two_choices", "hash"]),
    panic_below=st.sampled_from([0, 50, 100]),
    slow_start=st.sampled_from([0.0, 3.0]),
    steps=st.lists(STEP, max_size=60),
)
def test_only_the_fit_are_picked_unless_there_is_panic_and_never_one_whose_breaker_is_open(
    balance, panic_below, slow_start, steps
):
    spec = UpstreamSpec(
        balance=balance,
        panic_below=panic_below,
        slow_start=slow_start,
        probe=QUICK,
        ejection=EjectionSpec(failures=2),
        breaker=BreakerSpec(requests=4, window=5.0, open=2.0),
    )
    clock = FakeClock()
    cluster = Cluster("shop", [f"http://10.0.0.{n}:80" for n in range(1, 5)], spec=spec, wheel=Wheel(clock))
    request = type("Request", (), {"client": "192.0.2.1", "found": {}, "tries": 1, "method": "GET"})()
    for kind, what, outcome in steps:
        now = clock.monotonic()
        if kind == "wait":
            clock._elapsed += round(what * 1e9)
        elif kind == "update":
            cluster.update([f"http://10.0.0.{number}:80" for number in sorted(what)])
        elif kind == "probe" and what < len(cluster.instances):
            cluster.observed(cluster.instances[what], "" if outcome else "refused")
        elif kind == "request":
            request.client = f"192.0.2.{what}"
            try:
                instance = cluster.pick(request)
            except UpstreamError:
                assert not any(
                    one.breaker.admits(now) and (one.fit or cluster.panic) for one in cluster.instances
                )
                continue
            fit = sum(one.fit for one in cluster.instances)
            assert cluster.panic == (fit * 100 < panic_below * len(cluster.instances))
            assert instance in cluster.instances
            assert instance.fit or cluster.panic
            assert instance.breaker.admits(now)
            cluster.began(instance)
            cluster.ended(instance, outcome, 0.0)
        assert sum(one.ejected for one in cluster.instances) <= max(1, 6 // 2)
        assert all(one.active == 0 for one in cluster.instances)
