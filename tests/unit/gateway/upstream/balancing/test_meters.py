"""What the metrics say of instances."""

from __future__ import annotations

import pytest

from micro.gateway.upstream.ports import UpstreamError
from micro.spec.upstream import BreakerSpec, EjectionSpec, ProbeSpec, RetrySpec
from micro.telemetry.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics()


def values(metrics, name):
    """The samples of one metric: labels and value."""
    lines = [line for line in metrics.render().splitlines() if line.startswith(name + "{")]
    return {line[len(name) + 1 :].rpartition("} ")[0]: float(line.rpartition(" ")[2]) for line in lines}


ONE = 'service="shop",instance="10.0.0.1:9000"'
TWO = 'service="shop",instance="10.0.0.2:9000"'
SHOP = 'service="shop"'


def test_each_instance_has_its_load_state_share_and_breaker(cluster_of, metrics):
    cluster = cluster_of(
        2, metrics=metrics, breaker=BreakerSpec(requests=2), ejection=EjectionSpec(failures=2)
    )
    one = cluster.instances[0]
    for _ in range(3):
        cluster.began(one)
    cluster.ended(one, True, 0.0)
    cluster.ended(one, True, 0.0)
    assert values(metrics, "micro_upstream_active_requests") == {ONE: 1, TWO: 0}
    assert values(metrics, "micro_upstream_fit") == {ONE: 0, TWO: 1}
    assert values(metrics, "micro_upstream_breaker_state") == {ONE: 1, TWO: 0}
    assert values(metrics, "micro_upstream_weight") == {ONE: 1, TWO: 1}
    assert values(metrics, "micro_upstream_ejections_total") == {SHOP: 1}
    assert values(metrics, "micro_upstream_breaker_openings_total") == {SHOP: 1}
    states = values(metrics, "micro_upstream_instances")
    assert states[f'{SHOP},state="ejected"'] == 1
    assert states[f'{SHOP},state="healthy"'] == 1
    assert sum(states.values()) == 2


def test_retries_are_counted_and_those_that_the_budget_forbids(cluster_of, metrics):
    cluster = cluster_of(1, metrics=metrics, retry=RetrySpec(budget=0))
    for _ in range(5):
        cluster.may_retry()
    assert values(metrics, "micro_upstream_retries_total") == {SHOP: 3}
    assert values(metrics, "micro_upstream_retries_denied_total") == {SHOP: 2}


def test_panic_is_told(cluster_of, metrics):
    cluster = cluster_of(1, metrics=metrics, probe=ProbeSpec(unhealthy_after=1))
    assert values(metrics, "micro_upstream_panic") == {SHOP: 0}
    cluster.observed(cluster.instances[0], "refused")
    assert values(metrics, "micro_upstream_panic") == {SHOP: 1}


async def test_the_queue_and_who_left_it_without_a_slot_are_told(cluster_of, metrics, wheel, clock):
    class Waiter:
        def refused(self):
            pass

    cluster = cluster_of(1, metrics=metrics, on=wheel, max_requests=1, queue=2, queue_timeout=1.0)
    for _ in range(3):
        cluster.slots.enter(Waiter())
    with pytest.raises(UpstreamError):
        cluster.slots.enter(Waiter())
    assert values(metrics, "micro_upstream_queued") == {SHOP: 2}
    await clock.advance(1.5)
    assert values(metrics, "micro_upstream_queued") == {SHOP: 0}
    assert values(metrics, "micro_upstream_queue_refused_total") == {
        f'{SHOP},reason="full"': 1,
        f'{SHOP},reason="timeout"': 2,
    }


def test_there_are_as_many_series_as_instances_however_many_come_and_go(cluster_of, metrics):
    cluster = cluster_of(2, metrics=metrics)
    for number in range(300):
        cluster.update([f"http://10.1.0.{number}:80", f"http://10.2.0.{number}:80"])
    assert set(values(metrics, "micro_upstream_active_requests")) == {
        'service="shop",instance="10.1.0.299:80"',
        'service="shop",instance="10.2.0.299:80"',
    }


def test_what_is_closed_is_told_no_more_but_the_counts_stay(cluster_of, metrics):
    cluster = cluster_of(2, metrics=metrics)
    cluster.may_retry()
    cluster.close()
    assert values(metrics, "micro_upstream_active_requests") == {}
    assert values(metrics, "micro_upstream_instances") == {}
    assert values(metrics, "micro_upstream_retries_total") == {SHOP: 1}


def test_a_cluster_that_takes_anothers_place_keeps_its_series_when_that_closes(cluster_of, metrics):
    before = cluster_of(1, metrics=metrics)
    after = cluster_of(2, metrics=metrics)
    after.began(after.instances[0])
    before.close()
    assert values(metrics, "micro_upstream_active_requests") == {ONE: 1, TWO: 0}
    assert values(metrics, "micro_upstream_panic") == {SHOP: 0}
