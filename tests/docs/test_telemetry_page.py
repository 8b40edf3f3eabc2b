"""The reference of logs and metrics names what there is, with the labels it has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from micro.gateway.deadlines import Wheel
from micro.gateway.policies.breaker import RouteBreaker
from micro.gateway.policies.shedding import InHand
from micro.gateway.record import Recorder
from micro.gateway.upstream.cluster import Cluster
from micro.runtime.assemble import watch_cache
from micro.runtime.health import HealthBoard
from micro.spec.upstream import BreakerSpec, UpstreamSpec
from micro.telemetry.access import AccessRecord
from micro.telemetry.metrics import Metrics
from micro.testing import FakeClock
from micro.web.hosts import Hosts
from micro.web.wrap import ServiceApp

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "telemetry.md").read_text()


def section(heading):
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]


def described(heading):
    """Each metric of a section with its labels."""
    rows = re.findall(r"^\| `(micro_\w+)` \|([^|]*)\|", section(heading), re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def existing(metrics):
    return {name: metric.label_names for name, metric in metrics._metrics.items()}


def test_the_fields_of_the_access_log():
    fields = re.findall(r"^\| `(\w+)` \|", section("Access log"), re.MULTILINE)
    assert fields == [*AccessRecord.__struct_fields__]


def test_the_metrics_of_the_gateway():
    metrics, clock = Metrics(), FakeClock()
    Recorder(None, metrics, clock)
    InHand(metrics)
    RouteBreaker(BreakerSpec(), clock, name="GET /", metrics=metrics)
    board = HealthBoard({}, clock=clock, changed=lambda *_: None)
    watch_cache(SimpleNamespace(degraded=False), board, metrics)
    assert described("Metrics of the gateway") == existing(metrics)


def test_the_metrics_of_instances():
    metrics = Metrics()
    Cluster("app", ["http://127.0.0.1:1"], spec=UpstreamSpec(), wheel=Wheel(FakeClock()), metrics=metrics)
    assert described("Metrics of instances") == existing(metrics)


def test_the_metrics_of_a_service():
    metrics = Metrics()
    ServiceApp(None, SimpleNamespace(name="app"), metrics=metrics, ready=None, hosts=Hosts(None))
    assert described("Metrics of a service") == existing(metrics)


@pytest.mark.parametrize("status", [429, 401, 403, 413, 404, 405, 400])
def test_the_statuses_of_refusals_are_explained(status):
    (sentence,) = re.findall(r"^The reason of a refusal.*$", PAGE, re.MULTILINE)
    assert str(status) in sentence
