"""Who may read the metrics."""

from __future__ import annotations

import pytest

from micro.telemetry.metrics import Metrics
from micro.web.exposition import metrics_response
from micro.web.problems import Problem


@pytest.fixture
def metrics():
    made = Metrics()
    made.counter("shop_orders_total", "Orders.").inc()
    return made


@pytest.mark.parametrize(
    "client", [("127.0.0.1", 1), ("127.9.9.9", 1), ("::1", 1), ("::ffff:127.0.0.1", 1), None]
)
def test_this_machine_may_read_them(metrics, client):
    """Also over a Unix socket, which has no address."""
    response = metrics_response({"client": client}, metrics)
    assert b"shop_orders_total 1" in response.body
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("client", [("192.0.2.1", 1), ("::2", 1), ("::ffff:192.0.2.1", 1), ("10.0.0.1", 1)])
def test_other_machines_may_not(metrics, client):
    """They tell much about a system."""
    with pytest.raises(Problem) as caught:
        metrics_response({"client": client}, metrics)
    assert caught.value.status == 403


def test_unless_it_is_allowed(metrics):
    """For a scraper on the network."""
    assert metrics_response({"client": ("192.0.2.1", 1)}, metrics, public=True).status_code == 200
