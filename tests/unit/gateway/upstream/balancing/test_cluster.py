"""What becomes of the requests to a service."""

from __future__ import annotations

from collections import Counter
from random import Random  # noqa: TID251 - the order of operations, seeded by the test

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.deadlines import Wheel
from micro.gateway.upstream.cluster import Cluster
from micro.gateway.upstream.ports import UpstreamError
from micro.spec.upstream import BreakerSpec, EjectionSpec, ProbeSpec, RetrySpec, UpstreamSpec
from micro.testing import FakeClock

KINDS = ["round_robin", "least_requests", "two_choices", "hash"]
URLS = ["http://10.0.0.1:80", "http://10.0.0.2:80"]


@pytest.mark.parametrize("balance", KINDS)
def test_a_single_instance_gets_everything(cluster_of, exchange, balance):
    cluster = cluster_of(1, balance=balance)
    assert {cluster.pick(exchange) for _ in range(10)} == set(cluster.instances)


@pytest.mark.parametrize("balance", KINDS[:3])
def test_several_share(cluster_of, exchange, balance):
    cluster = cluster_of(4, balance=balance)
    picked = Counter(cluster.pick(exchange) for _ in range(400))
    assert set(picked) == set(cluster.instances)
    assert all(60 < number < 140 for number in picked.values())


def test_the_client_decides_where_the_hash_does(cluster_of, exchange):
    cluster = cluster_of(4, balance="hash")
    first = cluster.pick(exchange)
    assert {cluster.pick(exchange) for _ in range(10)} == {first}


def test_requests_in_flight_are_counted_from_beginning_to_end(cluster_of, exchange):
    cluster = cluster_of(1)
    (instance,) = cluster.instances
    cluster.began(instance)
    cluster.began(instance)
    assert cluster.states()[0]["active"] == 2
    cluster.ended(instance, False, 0.1)
    cluster.ended(instance, True, 0.1)
    assert instance.active == 0


def test_least_requests_sees_what_is_in_flight(cluster_of, exchange):
    cluster = cluster_of(3, balance="least_requests")
    busy = cluster.pick(exchange)
    cluster.began(busy)
    assert busy not in {cluster.pick(exchange) for _ in range(6)}


@pytest.mark.parametrize("balance", KINDS)
def test_a_retry_goes_to_another_instance_where_there_is_one(cluster_of, exchange, balance):
    cluster = cluster_of(3, balance=balance)
    for _ in range(20):
        first = cluster.pick(exchange)
        second = cluster.pick(exchange, [first])
        third = cluster.pick(exchange, (first, second))
        assert {first, second, third} == set(cluster.instances)
        assert cluster.pick(exchange, cluster.instances) in cluster.instances


def test_a_retry_goes_to_the_same_where_there_is_no_other(cluster_of, exchange):
    cluster = cluster_of(1)
    assert cluster.pick(exchange, cluster.instances) is cluster.instances[0]


def test_an_instance_with_as_many_requests_as_connections_gets_no_more(cluster_of, exchange):
    cluster = cluster_of(2, balance="hash", max_connections=3)
    full = cluster.pick(exchange)
    for _ in range(3):
        cluster.began(full)
    other = cluster.pick(exchange)
    assert other is not full
    for _ in range(3):
        cluster.began(other)
    with pytest.raises(UpstreamError) as caught:
        cluster.pick(exchange)
    assert caught.value.kind == "connection_limit_reached"


def test_where_nobody_may_get_traffic_the_destination_is_unavailable(cluster_of, exchange):
    with pytest.raises(UpstreamError) as caught:
        cluster_of(0).pick(exchange)
    assert caught.value.kind == "destination_unavailable"


@pytest.mark.parametrize("balance", KINDS[:3])
@pytest.mark.parametrize("others", [1, 3])
async def test_the_share_of_an_instance_in_slow_start_is_its_weight(
    cluster_of, clock, exchange, balance, others
):
    cluster = cluster_of(others, balance=balance, slow_start=100.0)
    cluster.update([*(instance.url for instance in cluster.instances), "http://10.0.1.1:80"])
    new = cluster.instances[-1]
    for seconds in (25, 50):
        await clock.advance(seconds)
        picked = Counter(cluster.pick(exchange) for _ in range(8000))
        fair = 8000 / (others + 1)
        weight = clock.monotonic() / 100
        assert abs(picked[new] / fair - weight) < 0.1
        rest = [picked[instance] for instance in cluster.instances[:-1]]
        assert max(rest) - min(rest) < 0.12 * fair + 100


def test_there_are_as_many_slots_as_connections_to_instances_with_traffic(cluster_of):
    cluster = cluster_of(3, max_connections=10, max_requests=25, probe=ProbeSpec(unhealthy_after=1))
    assert cluster.slots.limit == 25
    cluster.observed(cluster.instances[0], "refused")
    assert cluster.slots.limit == 20
    cluster.update([])
    assert cluster.slots.limit == 10


async def test_who_waits_is_admitted_when_an_instance_comes(cluster_of, wheel):
    class Waiter:
        admittances = 0

        def admitted(self):
            self.admittances += 1

        def refused(self):
            raise AssertionError

    cluster, waiter = cluster_of(1, max_connections=1, on=wheel), Waiter()
    assert cluster.slots.enter(object())
    assert not cluster.slots.enter(waiter)
    cluster.update(["http://10.0.0.1:9000", "http://10.0.0.2:9000"])
    assert waiter.admittances == 1


def test_a_request_is_sent_again_as_long_as_tries_kind_and_budget_allow(cluster_of, exchange):
    cluster = cluster_of(2, retry=RetrySpec(attempts=2, budget=0))
    exchange.tries = 1
    assert not cluster.may_resend(exchange, sent=True, at_hand=False)
    exchange.tries = 2
    assert not cluster.may_resend(exchange, sent=False, at_hand=True)
    exchange.tries = 1
    assert [cluster.may_resend(exchange, sent=True, at_hand=True) for _ in range(4)] == [
        True,
        True,
        True,
        False,
    ]


def test_what_may_not_be_sent_again_costs_nothing_of_the_budget(cluster_of, exchange):
    cluster = cluster_of(1, retry=RetrySpec(budget=0))
    exchange.tries, exchange.method = 1, "POST"
    for _ in range(10):
        assert not cluster.may_resend(exchange, sent=True, at_hand=True)
    assert [cluster.may_retry() for _ in range(4)] == [True, True, True, False]


def test_the_budget_grows_with_the_requests(cluster_of):
    cluster = cluster_of(1, retry=RetrySpec(budget=20))
    for _ in range(100):
        cluster.began(cluster.instances[0])
        cluster.ended(cluster.instances[0], False, 0.0)
    assert 15 <= sum(cluster.may_retry() for _ in range(50)) <= 20


def test_the_settings_of_retries_are_the_cluster_s(cluster_of):
    cluster = cluster_of(1, retry=RetrySpec(statuses=(503,), base=0.5, cap=1.0))
    assert cluster.retry_statuses == {503}
    assert 0.0 <= cluster.retry_wait(1) < 0.5
    assert max(cluster.retry_wait(9) for _ in range(100)) > 0.8


def test_a_success_ends_a_row_of_failures_and_an_end_that_says_nothing_does_not(cluster_of):
    cluster = cluster_of(2, breaker=BreakerSpec(failure_rate=0))
    instance = cluster.instances[0]

    def end(*outcomes):
        for failed in outcomes:
            cluster.began(instance)
            cluster.ended(instance, failed, 0.0)

    end(True, True, True, True, False, True, True, None, True, None, True)
    assert not instance.ejected
    end(True)
    assert instance.ejected


async def test_late_failures_of_older_requests_do_not_open_a_breaker_that_tries_again(cluster_of, clock):
    cluster = cluster_of(1, breaker=BreakerSpec(requests=2, open=5.0))
    (instance,) = cluster.instances
    for _ in range(4):
        cluster.began(instance)
    cluster.ended(instance, True, 0.0)
    cluster.ended(instance, True, 0.0)
    await clock.advance(6)
    cluster.began(instance)
    cluster.ended(instance, True, 6.0)
    assert cluster.states()[0]["state"] == "half-open"
    await clock.advance(1)
    cluster.ended(instance, False, 1.0)
    assert cluster.states()[0]["state"] == "healthy"
    cluster.ended(instance, False, 7.0)
    assert instance.active == 0


async def test_closing_refuses_who_waits(cluster_of, wheel, exchange):
    refused = []

    class Waiter:
        def admitted(self):
            raise AssertionError

        def refused(self):
            refused.append(self)

    cluster = cluster_of(1, max_requests=1, on=wheel)
    cluster.slots.enter(Waiter())
    cluster.slots.enter(waiter := Waiter())
    cluster.close()
    assert refused == [waiter]


@given(
    balance=st.sampled_from(KINDS),
    most=st.integers(1, 3),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=80),
)
def test_no_instance_ever_has_more_requests_than_connections(balance, most, steps):
    spec = UpstreamSpec(balance=balance, max_connections=most)
    urls = [f"http://10.0.0.{number}:80" for number in range(3)]
    cluster = Cluster("shop", urls, spec=spec, wheel=Wheel(FakeClock()))
    request = type("Request", (), {"found": {}})()
    running = []
    for begins, number in steps:
        request.client = f"192.0.2.{number}"
        if begins:
            try:
                instance = cluster.pick(request)
            except UpstreamError:
                assert len(running) == 3 * most
                continue
            cluster.began(instance)
            running.append(instance)
        elif running:
            cluster.ended(running.pop(number % len(running)), False, 0.0)
        assert all(instance.active <= most for instance in cluster.instances)
        assert sum(instance.active for instance in cluster.instances) == len(running)


def end(both, instances, began, now, *, failed):
    """End a request in both ways, where there are two."""
    (short, long), (quick, slow) = both, instances
    if failed:
        short.ended(quick, True, now - began)
        short.slots.leave()
    else:
        short.served(quick, now, began)
    long.ended(slow, failed, now - began)
    long.slots.leave()
    assert (quick.active, quick.failures) == (slow.active, slow.failures)


STEPS = ["begin"] * 6 + ["serve"] * 4 + ["fail"] * 2 + ["wait"] * 2 + ["retry", "update"]


@pytest.mark.parametrize("seed", range(5))
def test_to_have_served_is_to_have_ended_well_and_to_leave(seed):
    """The short way of counting comes to what the long one comes to, whatever has been before."""
    spec = UpstreamSpec(
        retry=RetrySpec(budget=50),
        ejection=EjectionSpec(failures=3),
        breaker=BreakerSpec(requests=6, window=5.0, open=2.0),
    )
    chance, running = Random(seed), []
    clocks = [FakeClock(), FakeClock()]
    short, long = both = [Cluster("shop", URLS, spec=spec, wheel=Wheel(clock)) for clock in clocks]
    for step in chance.choices(STEPS, k=1000):
        which, now = chance.randrange(2), clocks[0].monotonic()
        if step == "wait":
            for clock in clocks:
                clock._elapsed += (60, 400)[which] * 10**6
        elif step == "retry":
            assert short.may_retry() == long.may_retry()
        elif step == "update":
            for cluster in both:
                cluster.update(URLS[: which + 1])
        elif step == "begin" and which < len(short.instances):
            running.append(([cluster.instances[which] for cluster in both], now))
            for cluster in both:
                cluster.slots.enter(None)
                cluster.began(cluster.instances[which])
        elif step in {"serve", "fail"} and running:
            end(both, *running.pop(0), now, failed=step == "fail")
        assert short.states() == long.states()
        assert short.slots.active == long.slots.active == len(running)
