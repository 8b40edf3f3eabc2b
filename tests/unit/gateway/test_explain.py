"""What `micro routes` shows is what happens."""

from __future__ import annotations

import pytest

from micro.spec.gateway import Cors, HeaderChanges, RateRule, Route
from micro.spec.terms import Rate

ROUTES = [
    Route(path="/tasks", service="app", auth="required", timeout=5.0, max_body=10, rate_limit=Rate(10, 60.0)),
    Route(path="/tasks", service="app", methods=frozenset({"PUT", "POST"})),
    Route(path="/", service="app", methods=frozenset({"GET"})),
]


def test_the_table_lists_the_routes_in_force_with_the_gateways_defaults(bench, echo):
    rows = bench.serve(
        echo,
        routes=ROUTES,
        rate_limit=Rate(100, 60.0),
        rate_limits=(RateRule(limit=Rate(5, 1.0), by="user"),),
    ).gateway.table()
    assert [(row["path"], row["methods"]) for row in rows] == [
        ("/", ["GET"]),
        ("/tasks", None),
        ("/tasks", ["POST", "PUT"]),
    ]
    assert rows[1] == {
        "path": "/tasks",
        "exact": False,
        "methods": None,
        "host": None,
        "headers": {},
        "query": {},
        "service": "app",
        "rewrite": None,
        "auth": "required",
        "scopes": [],
        "roles": [],
        "timeout": 5.0,
        "max_body": 10,
        "rate_limit": "10/minute",
        "rate_limits": ["5/second by user"],
        "policies": [],
        "middleware": [],
        "instances": [],
    }
    assert (rows[0]["rate_limit"], rows[0]["max_body"]) == ("100/minute", 1 << 20)


def test_conditions_and_what_happens_to_the_path_stand_in_the_table(bench, echo):
    routes = [
        Route(path="/a", service="app", strip_prefix=True, exact=True, host="a.example", query={"v": "2"}),
        Route(path="/b", service="app", rewrite="/c", headers={"x-v": "*"}),
    ]
    first, second = bench.serve(echo, routes=routes).gateway.table()
    assert (first["rewrite"], first["exact"], first["host"], first["query"]) == (
        "/",
        True,
        "a.example",
        {"v": "2"},
    )
    assert (second["rewrite"], second["headers"]) == ("/c", {"x-v": "*"})


def test_the_state_of_the_instances_stands_in_the_table(bench, echo):
    class Cluster:
        def states(self):
            return [{"instance": "10.0.0.1:80", "state": "ejected"}]

    class Upstream:
        cluster = Cluster()

    (row,) = bench.serve(upstreams={"app": Upstream()}).gateway.table()
    assert row["instances"] == [{"instance": "10.0.0.1:80", "state": "ejected"}]


def test_a_request_is_explained(bench, echo):
    explained = bench.serve(echo, routes=ROUTES).gateway.explain("get", "/tasks/1?x=1")
    assert (explained["method"], explained["path"], explained["outcome"]) == ("GET", "/tasks/1?x=1", "route")
    assert (explained["route"]["path"], explained["service"], explained["timeout"]) == ("/tasks", "app", 5.0)
    assert (explained["target"], explained["adapter"], explained["middleware"]) == ("/tasks/1", "asgi", [])
    assert [policy.partition(":")[0] for policy in explained["policies"]] == [
        "identity",
        "framing",
        "loop",
        "hosts",
        "security headers",
        "shedding",
        "size",
        "rate limit",
        "auth",
    ]
    assert bench.gateway.explain("POST", "/tasks")["route"]["methods"] == ["POST", "PUT"]


def test_what_a_route_changes_is_explained(bench, echo):
    route = Route(
        path="/api",
        service="app",
        strip_prefix=True,
        request_headers=HeaderChanges(set={"x-key": "secret"}),
        response_headers=HeaderChanges(remove=("server",)),
    )
    explained = bench.serve(echo, routes=[route]).gateway.explain("GET", "/api/x%2Fy")
    assert explained["target"] == "/x%2Fy"
    assert explained["policies"][-3:] == [
        "path: /api is sent on as /",
        "request header: sets x-key",
        "response header: removes server",
    ]
    assert "secret" not in str(explained)


def test_the_short_path_is_told(bench):
    class Upstream:
        def start(self, exchange, downstream, *, body):
            raise NotImplementedError

    bench.serve(upstreams={"app": Upstream()})
    assert bench.gateway.explain("GET", "/")["adapter"] == "protocol"
    bench.serve(upstreams={"app": Upstream()}, adapter="asgi")
    assert bench.gateway.explain("GET", "/")["adapter"] == "asgi"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/health", {"outcome": "gateway"}),
        ("GET", "/a/../b", {"outcome": "refused", "status": 400}),
        (
            "DELETE",
            "/x",
            {"outcome": "refused", "status": 405, "reason": "DELETE is not among the route's methods."},
        ),
        ("GET", "/tasks%2F1", {"outcome": "refused", "status": 400}),
        ("GET", "/\u00e4", {"outcome": "refused", "status": 400}),
        ("GET", "tasks", {"outcome": "refused", "status": 400}),
        ("GET", "*", {"outcome": "refused", "status": 400}),
        ("OPTIONS", "*", {"outcome": "answered", "status": 204}),
        ("TRACE", "/", {"outcome": "refused", "status": 405}),
        ("GET", "/v?v=1&v=2", {"outcome": "refused", "status": 400}),
    ],
)
async def test_what_is_explained_is_what_happens(bench, echo, method, path, expected):
    bench.serve(echo, routes=[*ROUTES, Route(path="/v", service="app", query={"v": "1"})])
    explained = bench.gateway.explain(method, path)
    assert explained | expected == explained
    answer = await bench.ask(method, path.encode())
    assert answer.status == expected.get("status", 200)


@pytest.mark.parametrize("method", ["FETCH", "UPDATE", "GETT"])
def test_a_method_that_no_parser_lets_in_reaches_no_route(bench, echo, method):
    """What the server answers to it: see `test_a_malformed_head_is_refused` of the server."""
    explained = bench.serve(echo, routes=[Route(path="/", service="app")]).gateway.explain(method, "/x")
    assert explained == {
        "method": method,
        "path": "/x",
        "outcome": "refused",
        "status": 501,
        "reason": "This method is not known here.",
        "policies": [],
    }


def test_a_policy_that_refuses_before_the_route_is_the_last_of_the_list(bench, echo):
    explained = bench.serve(echo, routes=ROUTES).gateway.explain(
        "GET", "/", headers=[("Host", "shop.example.com")]
    )
    assert (explained["outcome"], explained["status"]) == ("refused", 400)
    assert explained["policies"][-1].startswith("hosts:")


def test_a_preflight_is_answered(bench, echo):
    bench.serve(echo, cors=Cors(origins=("https://a.example",)))
    asked = [("origin", "https://a.example"), ("access-control-request-method", "GET")]
    assert bench.gateway.explain("OPTIONS", "/", headers=asked)["outcome"] == "answered"


@pytest.mark.parametrize("hosts", [None, ("a.example",), ("*.example.com",), ("*",)])
def test_without_a_host_it_is_one_that_is_answered_to(bench, echo, hosts):
    assert bench.serve(echo, hosts=hosts).gateway.explain("GET", "/")["outcome"] == "route"


def test_conditions_are_met_by_what_is_said(bench, echo):
    routes = [
        Route(path="/", service="app"),
        Route(path="/", service="app", host="a.example", headers={"x-v": "2"}, query={"beta": "*"}),
    ]
    bench.serve(echo, routes=routes, hosts=("a.example", "b.example"))
    said = [("Host", "a.example"), ("X-V", "2")]
    assert bench.gateway.explain("GET", "/?beta=1", headers=said)["route"]["host"] == "a.example"
    assert bench.gateway.explain("GET", "/?beta=1")["route"]["host"] is None
    assert bench.gateway.explain("GET", "/", headers=said)["route"]["host"] is None


def test_a_path_without_a_route_is_explained(bench, echo):
    explained = bench.serve(echo, routes=ROUTES[:1]).gateway.explain("GET", "/x")
    assert (explained["outcome"], explained["status"], explained["reason"]) == (
        "refused",
        404,
        "No route leads there.",
    )


def test_nothing_is_counted(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    for _ in range(3):
        assert bench.gateway.explain("GET", "/")["outcome"] == "route"
    assert bench.log == []
