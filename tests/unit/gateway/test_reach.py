"""By which path an operation of a service is reached."""

from __future__ import annotations

import pytest

from micro.gateway.reach import Reach
from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route


@pytest.fixture
def reach(bench, echo):
    def make(*routes):
        upstreams = {"app": LocalUpstream(echo), "other": LocalUpstream(echo)}
        plan = bench.serve(upstreams=upstreams, routes=routes).gateway.plan
        return Reach(plan.rows, plan.router)

    return make


def test_by_its_own_path_where_a_route_leads_there(reach):
    where = reach(Route(path="/", service="app"), Route(path="/x", service="other"))
    assert where("app", "GET", "/a/{id}") == "/a/{id}"
    assert where("app", "GET", "/x") is None
    assert where("other", "GET", "/x") == "/x"


def test_a_path_that_could_not_be_asked_for_is_nobodys(reach):
    assert reach(Route(path="/", service="app"))("app", "GET", "/a/../b") is None
    assert reach()("app", "GET", "/a") is None


def test_with_the_prefix_that_is_taken_off(reach):
    where = reach(Route(path="/api", service="app", strip_prefix=True), Route(path="/api/b", service="other"))
    assert where("app", "GET", "/a") == "/api/a"
    assert where("app", "GET", "/b") is None
    assert where("other", "GET", "/api/b") == "/api/b"


def test_by_the_path_that_is_mapped_to_it(reach):
    where = reach(Route(path="/old", service="app", rewrite="/new"))
    assert where("app", "GET", "/new/a") == "/old/a"
    assert where("app", "GET", "/a") is None


def test_conditions_are_taken_as_met(reach):
    where = reach(
        Route(path="/", service="other"),
        Route(
            path="/a", service="app", host="*.example.com", headers={"x-v": "2", "x-w": "*"}, query={"p": "*"}
        ),
    )
    assert where("app", "GET", "/a") == "/a"
    assert where("app", "GET", "/b") is None


def test_by_the_method(reach):
    where = reach(Route(path="/", service="app", methods=frozenset({"GET"})))
    assert (where("app", "GET", "/a"), where("app", "PUT", "/a")) == ("/a", None)
