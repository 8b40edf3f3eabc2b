"""What is known of an instance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.instance import HASTE, STATES, STEPS, Instance
from micro.spec.upstream import BreakerSpec, ProbeSpec

SPEC = ProbeSpec(unhealthy_after=3, healthy_after=2)


def instance_of(url="http://10.0.0.1:9000"):
    return Instance(url, BreakerSpec(requests=1))


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "base", "name"),
    [
        ("http://10.0.0.1:9000", "10.0.0.1", 9000, False, b"", "10.0.0.1:9000"),
        ("http://shop.test", "shop.test", 80, False, b"", "shop.test:80"),
        ("https://shop.test/", "shop.test", 443, True, b"", "shop.test:443"),
        ("http://[::1]:9000", "::1", 9000, False, b"", "[::1]:9000"),
        ("http://shop.test:81/base/", "shop.test", 81, False, b"/base", "shop.test:81/base"),
    ],
)
def test_an_instance_is_read_from_its_url(url, host, port, tls, base, name):
    instance = instance_of(url)
    assert (instance.host, instance.port, instance.tls) == (host, port, tls)
    assert (instance.base, instance.name, instance.url) == (base, name, url)


def test_a_new_instance_may_have_traffic_and_has_no_verdict_yet():
    instance = instance_of()
    assert instance.fit
    assert instance.verdict == "starting"
    assert instance.state(0.0) == "healthy"


def test_the_first_success_is_enough_for_who_was_never_well():
    instance = instance_of()
    instance.well = False
    assert instance.observe(SPEC, "")
    assert (instance.verdict, instance.well) == ("healthy", True)


def test_the_first_failure_takes_the_traffic_from_who_was_never_well():
    instance = instance_of()
    assert instance.observe(SPEC, "connection refused")
    assert (instance.verdict, instance.well, instance.reason) == ("starting", False, "connection refused")
    assert instance.state(0.0) == "starting"


def test_who_never_becomes_well_is_unhealthy_after_some_patience():
    instance = instance_of()
    verdicts = []
    for _ in range(SPEC.unhealthy_after + HASTE):
        instance.observe(SPEC, "refused")
        verdicts.append(instance.verdict)
    assert verdicts == ["starting"] * (SPEC.unhealthy_after + HASTE - 1) + ["unhealthy"]
    assert instance.observe(SPEC, "")
    assert instance.verdict == "healthy"


def test_as_many_failures_in_a_row_as_the_setting_says_make_it_unhealthy():
    instance = instance_of()
    instance.observe(SPEC, "")
    for reason in ("no", "no", "", "no", "no"):
        assert not instance.observe(SPEC, reason)
    assert instance.well
    assert instance.observe(SPEC, "no")
    assert (instance.verdict, instance.well, instance.state(0.0)) == ("unhealthy", False, "unhealthy")
    assert not instance.observe(SPEC, "still no")
    assert instance.reason == "still no"


def test_as_many_successes_in_a_row_as_the_setting_says_make_it_healthy_again():
    instance = instance_of()
    for reason in ("", "no", "no", "no", "", "no", ""):
        instance.observe(SPEC, reason)
    assert not instance.well
    assert instance.observe(SPEC, "")
    assert (instance.verdict, instance.well, instance.reason) == ("healthy", True, "")


@given(
    outcomes=st.lists(st.booleans(), max_size=60),
    unhealthy_after=st.integers(1, 4),
    healthy_after=st.integers(1, 4),
)
def test_a_proven_instance_changes_only_after_a_whole_row_of_the_same(
    outcomes, unhealthy_after, healthy_after
):
    spec = ProbeSpec(unhealthy_after=unhealthy_after, healthy_after=healthy_after)
    instance = instance_of()
    instance.observe(spec, "")
    well = True
    for number in range(1, len(outcomes) + 1):
        changed = instance.observe(spec, "" if outcomes[number - 1] else "no")
        wanted = healthy_after if not well else unhealthy_after
        row = [True, *outcomes[:number]][-wanted:]
        turns = len(row) == wanted and all(outcome != well for outcome in row)
        assert changed == turns
        well = well != turns
        assert (instance.well, instance.verdict) == (well, "healthy" if well else "unhealthy")


def test_the_share_grows_evenly_in_slow_start():
    instance = instance_of()
    instance.joined = 100.0
    weights = []
    for now in (100.0, 101.0, 105.0, 109.9):
        assert instance.ramp(now, 10.0) == now + 10.0 / STEPS
        weights.append(instance.weight)
    assert weights == pytest.approx([0.05, 0.1, 0.5, 0.99])
    assert instance.state(109.9) == "starting"
    assert instance.ramp(110.0, 10.0) == float("inf")
    assert instance.weight == 1.0


def test_without_slow_start_the_share_is_whole_at_once():
    instance = instance_of()
    instance.joined = 5.0
    assert instance.ramp(5.0, 0.0) == float("inf")
    assert instance.weight == 1.0


def test_the_state_names_the_gravest_first():
    instance = instance_of()
    instance.weight = 0.5
    seen = [instance.state(0.0)]
    instance.breaker.ended(0.0, 0.0, failed=True)
    seen += [instance.state(0.0), instance.state(5.0)]
    instance.breaker.tried(5.0)
    seen.append(instance.state(5.0))
    instance.ejected = True
    seen.append(instance.state(0.0))
    instance.observe(SPEC, "no")
    seen.append(instance.state(0.0))
    assert seen == ["starting", "open", "half-open", "half-open", "ejected", "starting"]
    assert set(seen) <= set(STATES)
