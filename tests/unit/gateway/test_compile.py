"""From settings to policies: all of them, in the one order."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from micro.errors import ConfigurationError
from micro.spec.gateway import Cors, HeaderChanges, RateRule, Route
from micro.spec.terms import Rate
from micro.spec.upstream import BreakerSpec


class Own:
    def on_request(self, exchange):
        return None


@pytest.fixture(autouse=True)
def module(monkeypatch):
    found = ModuleType("own")
    found.Whole, found.Single = type("Whole", (Own,), {}), type("Single", (Own,), {})
    monkeypatch.setitem(sys.modules, "own", found)


def names(policies):
    return [type(policy).__name__ for policy in policies]


EVERYTHING = Route(
    path="/a",
    service="app",
    strip_prefix=True,
    auth="required",
    scopes=frozenset({"read"}),
    rate_limits=(RateRule(limit=Rate(5, 1.0), by="user"),),
    request_headers=HeaderChanges(set={"x-a": "1"}),
    response_headers=HeaderChanges(remove=("server",)),
    breaker=BreakerSpec(),
    policies=("own:Single",),
)


def test_everything_that_can_be_said_is_in_force_in_the_fixed_order(bench, echo):
    bench.serve(
        echo,
        routes=[EVERYTHING],
        rate_limit=Rate(100, 60.0),
        cors=Cors(origins=("https://a.example",)),
        policies=("own:Whole",),
    )
    plan = bench.gateway.plan
    assert names(plan.global_policies) == [
        "Identification",
        "Framing",
        "Loop",
        "KnownHost",
        "SecurityHeaders",
        "CrossOrigin",
    ]
    ((_, pipeline),) = plan.rows
    assert names(pipeline.policies) == [
        "Shedding",
        "BodyLimit",
        "RateLimit",
        "Authentication",
        "Access",
        "RateLimit",
        "PathChange",
        "RequestHeaders",
        "ResponseHeaders",
        "Whole",
        "Single",
        "RouteBreaker",
    ]
    assert [hook.__self__.__class__.__name__ for hook in pipeline.ends] == ["Shedding", "RouteBreaker"]


def test_what_is_not_said_is_not_there(bench, echo):
    bench.serve(echo, security_headers=False, max_requests=0)
    plan = bench.gateway.plan
    assert names(plan.global_policies) == ["Identification", "Framing", "Loop", "KnownHost"]
    assert names(plan.rows[0][1].policies) == ["BodyLimit"]
    assert plan.rows[0][1].ends == ()


def test_a_breaker_that_never_opens_is_none(bench, echo):
    bench.serve(echo, routes=[Route(path="/", service="app", breaker=BreakerSpec(failure_rate=0))])
    assert "RouteBreaker" not in names(bench.gateway.plan.rows[0][1].policies)


def test_every_policy_says_what_it_does(bench, echo):
    bench.serve(echo, routes=[EVERYTHING], rate_limit=Rate(1, 1.0), policies=("own:Whole",))
    for policy in bench.gateway.explain("GET", "/a")["policies"]:
        assert ":" in policy
        assert "object at" not in policy


async def test_a_request_more_than_are_taken_is_refused_and_health_is_not(bench):
    async def app(scope, receive, send):
        await receive()
        await receive()

    bench.serve(app, max_requests=1)
    first = bench.open("GET")
    await first.until(lambda: first.asked > 1)
    assert (await bench.ask("GET")).status == 503
    assert (await bench.ask("GET", "/health")).status == 200
    first.leave()
    await first.end()
    assert bench.gateway._parts.in_hand.count == 0


async def test_the_breaker_of_a_route_opens(bench, make_echo):
    breaker = BreakerSpec(failure_rate=50, requests=2)
    bench.serve(make_echo(status=503), routes=[Route(path="/", service="app", breaker=breaker)])
    for _ in range(2):
        assert "retry-after" not in await bench.ask("GET")
    opened = await bench.ask("GET")
    assert (opened.status, opened["proxy-status"]) == (503, "micro; error=destination_unavailable")


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (Route(path="/a", service="nobody"), "micro.toml: gateway.routes.1: no service is called 'nobody'"),
        (Route(path="/a/../b", service="app"), "micro.toml: gateway.routes.1.path: '/a/../b': "),
        (
            Route(path="/a", service="app", request_headers=HeaderChanges(set={"host": "x"})),
            "micro.toml: gateway.routes.1.request_headers: host is the gateway's own to write",
        ),
        (
            Route(path="/a", service="app", response_headers=HeaderChanges(remove=("date",))),
            "micro.toml: gateway.routes.1.response_headers: date is the gateway's own to write",
        ),
        (Route(path="/%2F", service="app"), "micro.toml: gateway.routes: two routes for /"),
        (
            Route(path="/a", service="app", scopes=frozenset({"x"})),
            "micro.toml: gateway.routes.1: /a: scopes",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_key(bench, echo, route, said):
    bench.source = "micro.toml"
    with pytest.raises(ConfigurationError) as caught:
        bench.serve(echo, routes=[Route(path="/", service="app"), route])
    assert str(caught.value).startswith(said)


def test_the_hosts_of_routes_are_answered_to(bench, echo):
    bench.serve(
        echo, routes=[Route(path="/", service="app", host="a.example"), Route(path="/", service="app")]
    )
    assert bench.gateway.explain("GET", "/", headers=[("host", "a.example")])["outcome"] == "route"
    assert bench.gateway.explain("GET", "/", headers=[("host", "localhost")])["outcome"] == "route"
    assert bench.gateway.explain("GET", "/", headers=[("host", "b.example")])["outcome"] == "refused"
